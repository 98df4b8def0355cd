"""SRCNN (Dong et al., TPAMI 2016, arXiv 1501.00092), trained by preconditioned SGD.

    python -m srcnn_jax.main --config=configs/default.py:x4

The words after the colon, in any order, separated by commas:

    x2 x3 x4      the scale (required)
    915 935 955   the kernel sizes (default: 9-1-5)
    same valid    the padding (default: same; valid with `paper`)
    paper         the released recipe, as configs/paper.py (a week on two cores)
    runlocal      a smoke run of a few seconds

A comment beside a field begins with its [unit], if it has one. Every field can be set on the
command line by its dotted name:

    --config.train.steps=1000                    a number, a string or a bool
    --config.model.kernel_sizes=9,3,1,5          a tuple
    --config.optimizer.options.momentum=0.8      an entry of a dict
    --config.optimizer.options="{'b1': 0.9}"     a whole dict
    --config.optimizer.rates="(('last/.*', 0.1), ('.*', 1.0))"

Flags say where a run happens and what it saves: --workdir, --data_dir, --save_images, ...

Expected on T91, 9-1-5, same, Set5: 36.78, 32.78, 30.45 dB at x2, x3, x4 (the paper: 36.34, 32.39,
30.09) after four minutes on two cores of 450 GF/s.
"""

import pathlib
import runpy

import ml_collections

SCALES = ("x2", "x3", "x4")
KERNEL_SIZES = {"915": (9, 1, 5), "935": (9, 3, 5), "955": (9, 5, 5)}
PADDINGS = ("same", "valid")
RECIPES = ("paper", "runlocal")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config for words such as 'x4' or 'x3,955,valid'.

    Raises:
      ValueError: if a word is unknown, a choice is made twice, or the scale is missing.
    """
    words = [word for word in (arg or "").split(",") if word]
    known = (*SCALES, *KERNEL_SIZES, *PADDINGS, *RECIPES)
    for word in words:
        if word not in known:
            raise ValueError(f"unknown config word {word!r}: the words are {' '.join(known)}")
        if words.count(word) > 1:
            raise ValueError(f"config word {word!r} is there twice: leave one out")
    scale = int(_one_of(words, SCALES, "scale")[1])
    kernel_sizes = KERNEL_SIZES[_one_of(words, tuple(KERNEL_SIZES), "set of kernel sizes", "915")]
    recipes = [word for word in words if word in RECIPES]
    default_padding = "valid" if "paper" in recipes else "same"
    padding = _one_of(words, PADDINGS, "padding", default_padding)

    config = ml_collections.ConfigDict()
    config.name = "_".join(words)  # names the workdir under runs/
    config.scale = scale  # enlargement factor: 2, 3 or 4
    config.seed = 0  # seed of the initial weights, the order of patches and the augmentation

    config.model = model = ml_collections.ConfigDict()
    model.kernel_sizes = kernel_sizes  # [pixels] f1, f2, f3, ...: odd
    model.features = (64, 32)  # n1, n2, ...: filters of every layer but the last
    model.padding = padding  # 'same', 'valid', or a word for each layer: 'valid,same,valid'
    model.initializer = "identity"  # or 'glorot', 'he', 'gaussian' (the paper's N(0, 0.001))
    model.convolution = "auto"  # 'auto' by device: 'batch_last' (CPU), 'channels_last' (GPU, TPU)
    model.dtype = "float32"  # dtype of the products; 'bfloat16' on a GPU or TPU

    config.data = data = ml_collections.ConfigDict()
    data.train = "t91"  # names of data sets, or paths to folders of images, between commas
    data.colour = "y"  # 'y' (luminance, 1 channel), 'ycbcr' or 'rgb' (3 channels)
    data.patch_size = 41 if padding == "same" else 45  # [pixels] side of a patch
    # Networks of same layers see the pixels around a patch. False: they see zeros there.
    data.context = True
    data.stride = 1  # [pixels] between patch positions; 1: every position, 14: the paper's grid
    data.augment = True  # each patch gets one of eight flips and rotations
    data.downscale_factors = (1.0, 0.9, 0.8, 0.7, 0.6)  # each image is used at these sizes (FSRCNN)
    # Copies of each image at each size, each with noise and JPEG of its own; 1 without them.
    data.degraded_copies = 1
    # How the small images of training and test are made (srcnn_jax/degradation.py).
    data.degradation = degradation = ml_collections.ConfigDict()
    degradation.shrink = "bicubic"  # MATLAB's; or 'gaussian': blurred, subsampled (paper's text)
    degradation.sigma = 0.0  # [pixels of the large image] of the Gaussian; 0 for 'bicubic'
    degradation.enlarge = "bicubic"  # to the network's input; or 'spline', the cubic B-spline
    degradation.noise = ()  # [of 255] lowest and highest sigma of the noise: (0.0, 10.0)
    degradation.jpeg = ()  # lowest and highest quality of the small image's JPEG: (50, 95)

    config.train = train = ml_collections.ConfigDict()
    train.steps = 9_000  # [steps] updates of the weights
    train.batch_size = 64  # [patches] of an update, over all devices and processes
    train.devices = 0  # XLA devices over all processes; 0: one for each core, GPU or TPU core
    # [patches] of one gradient on one device; 0: by device and patch size
    train.microbatch_size = 0
    train.steps_per_dispatch = 20  # [steps] updates in one program; 500 for a GPU
    train.log_every = 500  # [steps] between two lines of progress, if they go to a pipe or file
    train.eval_every = 1000  # [steps] between two measurements of PSNR on the validation set
    train.eval_dataset = ""  # the validation set: a name or path; '': the first of eval.datasets
    train.checkpoint_every = 500  # [steps] between two checkpoints
    train.keep_checkpoints = 2  # max number of checkpoints kept; the oldest are deleted
    # Which weights are saved: 'last', or 'best' (highest validation PSNR). What chooses is never a
    # test set: 'best' is measured on held_out, 50 photographs that no network is trained on.
    train.keep_weights = "last"
    train.loss_channels = ()  # channels in the loss: () for all, (1, 2) for Cb and Cr
    # [of 1] c of the loss c^2 log(1 + e / c^2) of a patch, e its mean squared error; 0: e itself
    train.cauchy_scale = 0.0
    # Training has diverged at this multiple of the mean squared error of the first 64 patches.
    train.max_loss_ratio = 10.0

    config.optimizer = optimizer = ml_collections.ConfigDict()
    optimizer.name = "sgd"  # any optimiser of optax
    # The optimiser's arguments, without the learning rate.
    optimizer.options = ml_collections.ConfigDict({"momentum": 0.9})
    # Peak of the schedule. None: min(0.09 / sqrt(weights), 0.001) * (1000 / steps) ** 0.25, a rule
    # for every shape and length of the preconditioned sgd (srcnn_jax/optimizer.py).
    optimizer.learning_rate = ml_collections.config_dict.placeholder(float)
    optimizer.rate_unit = "mse"  # the loss that the rate is for: 'mse', or Caffe's 'euclidean'
    optimizer.schedule = "cosine"  # 'cosine' (down to zero) or 'constant'
    optimizer.warmup_steps = 200  # [steps] of linear rise from zero, at most half of all steps
    # Pairs (regular expression, factor on the learning rate). The expression matches a
    # parameter's label, such as 'conv1/kernel' or 'last/bias'. The first match counts.
    optimizer.rates = ((".*", 1.0),)  # (("last/kernel", 0.1), (".*/bias", 0.1), (".*", 1.0))
    optimizer.precondition = True  # normalise gradients first (srcnn_jax/preconditioner.py)
    optimizer.preconditioner = preconditioner = ml_collections.ConfigDict()
    preconditioner.update_every = 50  # [steps] between two eigendecompositions
    preconditioner.start = 20  # [steps] that only gather statistics, at most a tenth of all steps
    preconditioner.factor_decay = 0.95  # decay per step of the second moments of the axes
    preconditioner.moment_decay = 0.99  # decay per step of the second moment in the eigenbasis
    preconditioner.max_rms = 1.0  # max root mean square of an update, before the learning rate
    preconditioner.eps = 1e-12  # [units of the gradient] added to the root of the second moment

    config.eval = evaluation = ml_collections.ConfigDict()
    evaluation.datasets = "set5,set14"  # names or paths, separated by commas
    evaluation.metrics = "psnr,ssim"  # of psnr (always computed), ssim, msssim, ifc, nqm, wpsnr

    if "paper" in recipes:
        # `configs` cannot be imported from every working directory, so the file is run by its path.
        paper = runpy.run_path(str(pathlib.Path(__file__).with_name("paper.py")))
        paper["use_released_recipe"](config)
    if "runlocal" in recipes:
        train.steps, train.batch_size, train.steps_per_dispatch = 100, 16, 10
        train.log_every = train.eval_every = train.checkpoint_every = 50
        optimizer.warmup_steps = 10
        evaluation.datasets = "set5"
    config.lock()  # a misspelt field raises AttributeError
    optimizer.options.unlock()
    return config


def _one_of(words: list[str], choices: tuple[str, ...], what: str, default: str = "") -> str:
    said = [word for word in words if word in choices]
    if len(said) > 1 or not (said or default):
        raise ValueError(
            f"config words {','.join(words)!r}: say exactly one {what}, {' or '.join(choices)}, "
            "as in configs/default.py:x4"
        )
    return said[0] if said else default
