"""SRCNN (Dong et al., TPAMI 2016, arXiv 1501.00092), trained by preconditioned SGD.

    python -m srcnn_jax.main --config=configs/default.py:x4

The words after the colon, in any order, separated by commas:

    x2 x3 x4      the scale (required)
    915 935 955   the filter sizes, 9-1-5 without a word
    same valid    the padding, same without a word
    paper         the released recipe: SGD at the solver's rates from N(0, 0.001), valid, 8e8
                  patches (a week on two cores)
    runlocal      a smoke run of seconds, to see that everything works

Expected on T91, 9-1-5, same, Set5: 36.7, 32.7, 30.37 dB at x2, x3, x4 (the paper: 36.34, 32.39,
30.09) after four minutes on two cores of 450 GF/s; README.md has the whole table.
"""

import ml_collections

SCALES = ("x2", "x3", "x4")
KERNEL_SIZES = {"915": (9, 1, 5), "935": (9, 3, 5), "955": (9, 5, 5)}
PADDINGS = ("same", "valid")
RECIPES = ("paper", "runlocal")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config for words such as 'x4' or 'x3,955,valid'.

    Raises:
      ValueError: if a word is unknown, said twice, or the scale is missing.
    """
    words = [word for word in (arg or "").split(",") if word]
    known = (*SCALES, *KERNEL_SIZES, *PADDINGS, *RECIPES)
    for word in words:
        if word not in known:
            raise ValueError(f"unknown config word {word!r}: the words are {' '.join(known)}")
    scale = int(_one_of(words, SCALES, "scale")[1])
    kernel_sizes = KERNEL_SIZES[_one_of(words, tuple(KERNEL_SIZES), "filter sizes", "915")]
    recipes = [word for word in words if word in RECIPES]
    default_padding = "valid" if "paper" in recipes else "same"
    padding = _one_of(words, PADDINGS, "padding", default_padding)

    config = ml_collections.ConfigDict()
    config.name = "_".join(words)  # the workdir under runs/
    config.scale = scale  # enlargement factor, 2, 3 or 4
    config.seed = 0  # of the initial weights and of the patches

    config.model = model = ml_collections.ConfigDict()
    model.kernel_sizes = kernel_sizes  # f1, f2, f3, ...: odd, pixels
    model.features = (64, 32)  # n1, n2, ...: filters of every layer but the last
    model.padding = padding  # 'same', 'valid', or one for each layer: 'valid,same,valid'
    model.initializer = "identity"  # or 'glorot', 'he', 'gaussian' (the paper's N(0, 0.001))
    model.convolution = "auto"  # 'matmul' (CPU), 'xla' (GPU, TPU), or by device
    model.dtype = "float32"  # of the products; 'bfloat16' on a GPU or TPU, weights stay float32

    config.data = data = ml_collections.ConfigDict()
    data.train = "t91"  # a dataset's name, or a path to a folder of images
    data.dir = ""  # folder of the datasets' folders; '' means SRCNN_DATA_DIR, or a download
    data.allow_sample = True  # use scikit-image's photographs if the training set is nowhere
    data.colour = "y"  # 'y' (luminance, 1 channel), 'ycbcr' or 'rgb' (3 channels)
    data.patch_size = 45  # pixels, input side; the paper's 33 wastes more on false borders
    data.stride = 1  # pixels between the places of patches: 1 is anywhere, 14 the paper's grid
    data.augment = True  # one of eight flips and rotations for each patch
    data.copies = (1.0,)  # sizes at which an image is used; FSRCNN: 1, .9, .8, .7, .6

    config.train = train = ml_collections.ConfigDict()
    train.steps = 9_000  # updates of the weights
    train.batch_size = 64  # patches of an update, over all devices and processes
    train.devices = 0  # XLA devices over all processes; 0: one for each core, GPU or TPU core
    train.microbatch_size = 0  # patches of one gradient, on one device; 0: by device and patch
    train.steps_per_dispatch = 20  # updates between two looks at the loss; 500 for a GPU
    train.log_every = 500  # steps, between two lines of progress on a pipe
    train.eval_every = 1000  # steps, between two looks at PSNR
    train.eval_dataset = "set5"  # PSNR is watched on it, or on the first of eval.datasets
    train.checkpoint_every = 500  # steps
    train.keep = "last"  # which weights to save: 'last' or 'best' (PSNR on eval_dataset)
    train.loss_channels = "all"  # whose error counts: 'all', or as '1,2' (Cb and Cr of 'ycbcr')
    train.max_loss_ratio = 10.0  # loss over its first value at which training counts as diverged

    config.optimizer = optimizer = ml_collections.ConfigDict()
    optimizer.name = "sgd"  # any optimiser of optax
    optimizer.options = "momentum=0.9"  # its arguments but the rate: 'b1=0.9,nesterov=True'
    optimizer.precondition = True  # normalise gradients in their eigenbasis first (optimizer.py)
    optimizer.precondition_every = 50  # steps between two eigendecompositions
    optimizer.learning_rate = 1e-3  # peak
    optimizer.rate_unit = "mse"  # of a mean squared error, or Caffe's 'euclidean' loss
    optimizer.schedule = "cosine"  # to zero, or 'constant'
    optimizer.warmup_steps = 200  # steps of linear rise
    optimizer.rates = ".*:1"  # factor by label: 'last/kernel:0.1,.*/bias:0.1,.*:1'

    config.eval = evaluation = ml_collections.ConfigDict()
    evaluation.datasets = "set5,set14"  # names or paths, separated by commas
    evaluation.metrics = "psnr,ssim"  # of psnr (always), ssim, msssim, ifc, nqm, wpsnr
    evaluation.save_images = False  # write the enlarged test images as PNG
    evaluation.outputs = ""  # --mode=score: folder of images that another program made

    if "paper" in recipes:
        # SRCNN_train's solver: rates 1e-4 and, for the last layer and all biases, 1e-5.
        model.initializer = "gaussian"
        data.patch_size, data.stride, data.augment = 33, 14, False
        train.batch_size = 128
        train.steps = 6_250_000  # 8e8 patches ("backprops") of 128
        train.log_every, train.eval_every, train.checkpoint_every = 10_000, 50_000, 50_000
        optimizer.precondition = False
        optimizer.learning_rate, optimizer.rate_unit = 1e-4, "euclidean"
        optimizer.schedule, optimizer.warmup_steps = "constant", 0
        optimizer.rates = "last/.*:0.1,.*/bias:0.1,.*:1"
    if "runlocal" in recipes:
        train.steps, train.batch_size, train.steps_per_dispatch = 100, 16, 10
        train.log_every = train.eval_every = train.checkpoint_every = 50
        optimizer.warmup_steps = 10
        evaluation.datasets = "set5"
    return config


def _one_of(words: list[str], choices: tuple[str, ...], what: str, default: str = "") -> str:
    said = [word for word in words if word in choices]
    if len(said) > 1 or not (said or default):
        raise ValueError(
            f"config words {','.join(words)!r}: say one {what}, {' or '.join(choices)}, "
            "as in configs/default.py:x4"
        )
    return said[0] if said else default
