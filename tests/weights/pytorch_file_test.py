"""PyTorch's files: those made here without PyTorch, hostile ones, and a check against PyTorch."""

import argparse
import collections
import datetime
import io
import os
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
from made_weights import check_one_line

from srcnn_jax import weights
from srcnn_jax.weights import pytorch, pytorch_file

SHAPES = {"conv1": (4, 1, 5, 5), "conv2": (3, 4, 1, 1), "conv3": (1, 3, 3, 3)}
KINDS = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<f2": "HalfStorage", "<i8": "LongStorage"}


class Storage:
    """What a fake tensor points to: `kind` is the class of PyTorch, `data` the bytes."""

    def __init__(self, kind, data, numel):
        self.kind, self.data, self.numel = kind, data, numel


class Tensor:
    """Pickles itself as PyTorch's tensors do."""

    def __init__(self, values, kind=None, offset=0, shape=None, strides=None, numel=None):
        self.storage = Storage(
            kind or KINDS[values.dtype.str], values.tobytes(), numel or values.size
        )
        self.offset, self.shape = offset, shape or values.shape
        self.strides = strides or tuple(step // values.itemsize for step in values.strides)

    def __reduce__(self):
        return (
            sys.modules["torch._utils"]._rebuild_tensor_v2,
            (self.storage, self.offset, self.shape, self.strides, False, collections.OrderedDict()),
        )


class Parameter(Tensor):
    def __reduce__(self):
        tensor = Tensor.__new__(Tensor)
        tensor.__dict__.update(self.__dict__)
        arguments = (tensor, True, collections.OrderedDict())
        return sys.modules["torch._utils"]._rebuild_parameter, arguments


class Model:
    """What people save who save the whole model."""


class Pickler(pickle.Pickler):
    def __init__(self, file, legacy):
        super().__init__(file, 2)
        self.legacy, self.storages = legacy, []

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        key = str(self.storages.index(obj))
        kind = getattr(sys.modules["torch"], obj.kind)
        return ("storage", kind, key, "cpu", obj.numel, *([None] if self.legacy else []))


def stand_in():
    """The code of the functions that a fake PyTorch has; they are named, not called."""


@pytest.fixture
def dump(monkeypatch):
    """Makes the bytes that `torch.save` would; its names come from a module of our own."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType(stand_in.__code__, {"__name__": "torch._utils"}, name)
        function.__qualname__ = name
        setattr(utils, name, function)
    for kind in (*pytorch_file.DTYPES, "torch.QInt8Storage"):
        name = kind.removeprefix("torch.")
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def to_bytes(content, legacy=False, prefix="archive", extra=()):
        file = io.BytesIO()
        pickler = Pickler(file, legacy)
        pickler.dump(content)
        if legacy:
            machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
            before = [pickle.dumps(x, 2) for x in (pytorch_file.LEGACY_MAGIC, 1001, machine)]
            keys = [str(i) for i in range(len(pickler.storages))]
            blocks = [struct.pack("<q", s.numel) + s.data for s in pickler.storages]
            return b"".join([*before, file.getvalue(), pickle.dumps(keys, 2), *blocks])
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as files:
            files.writestr(f"{prefix}/data.pkl", file.getvalue())
            for key, storage in enumerate(pickler.storages):
                files.writestr(f"{prefix}/data/{key}", storage.data)
            files.writestr(f"{prefix}/version", "3\n")
            for name, text in extra:
                files.writestr(f"{prefix}/{name}", text)
        return archive.getvalue()

    return to_bytes


def arrays(dtype="<f4", names=("conv1", "conv2", "conv3")):
    """Values that every float dtype holds exactly."""
    rng = np.random.default_rng(0)
    result = {}
    for name, shape in zip(names, SHAPES.values(), strict=True):
        result[f"{name}.weight"] = (rng.integers(-64, 65, shape) / 32).astype(dtype)
        result[f"{name}.bias"] = (rng.integers(-64, 65, shape[0]) / 32).astype(dtype)
    return result


def state_dict(values, kind=Tensor):
    state = collections.OrderedDict((name, kind(value)) for name, value in values.items())
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    return state


def check(path, content, padding="same"):
    """Loads what was written and compares it with `arrays`."""
    path.write_bytes(content)
    loaded = weights.load(path)
    assert (loaded.architecture.kernel_sizes, loaded.architecture.features) == ((5, 1, 3), (4, 3))
    assert (loaded.padding, loaded.scale, loaded.colour) == (padding, None, "y")
    expected = list(arrays().values())
    for index, layer in enumerate(loaded.layers):
        assert layer["kernel"].dtype == layer["bias"].dtype == np.float32
        weight = layer["kernel"].transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(weight, expected[2 * index])
        np.testing.assert_array_equal(layer["bias"], expected[2 * index + 1])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pth.tar"])
def test_state_dict(tmp_path, dump, suffix, legacy):
    check(tmp_path / f"w{suffix}", dump(state_dict(arrays()), legacy))


@pytest.mark.parametrize("dtype", ["<f2", "<f8"])
@pytest.mark.parametrize("legacy", [False, True])
def test_other_floats(tmp_path, dump, dtype, legacy):
    check(tmp_path / "w.pth", dump(state_dict(arrays(dtype)), legacy))


def test_bfloat16(tmp_path, dump):
    state = {
        name: Tensor(
            (value.view(np.uint32) >> 16).astype(np.uint16),
            "BFloat16Storage",
            strides=tuple(step // 4 for step in value.strides),
        )
        for name, value in arrays().items()
    }
    check(tmp_path / "w.pth", dump(state))


@pytest.mark.parametrize(
    "names",
    [
        ("features.0", "map.0", "reconstruction"),
        ("module.features.0", "module.map.0", "module.reconstruction"),
        ("0", "2", "4"),
        ("net.0", "net.2", "net.4"),
        ("module.model.conv1", "module.model.conv2", "module.model.conv3"),
        ("conv1.0", "conv2.0", "conv3"),
        ("patch_extraction", "non_linear_mapping", "reconstruction"),
    ],
)
def test_names(tmp_path, dump, names):
    check(tmp_path / "w.pth", dump(state_dict(arrays(names=names))))


def test_checkpoints(tmp_path, dump):
    rest = {"epoch": 3, "best": 31.2, "optimizer": {"lr": [1e-4], "step": Tensor(np.zeros(1))}}
    for name in pytorch_file.WRAPPERS:
        check(tmp_path / "w.pth.tar", dump({**rest, name: state_dict(arrays())}))
    schedule = {"milestones": collections.Counter([3])}
    check(tmp_path / "w.pth", dump({"scheduler": schedule, "model": state_dict(arrays())}, True))
    check(tmp_path / "w.pth", dump({"model": {"params": state_dict(arrays(), Parameter)}}))
    check(tmp_path / "w.pth", dump({"params_ema": state_dict(arrays())}))
    other = {name: value + 1 for name, value in arrays().items()}
    both = {"params": state_dict(other), "params_ema": state_dict(arrays())}
    check(tmp_path / "w.pth", dump(both))  # the mean of the weights is what such programs use


class Schedule(dict):
    """A class of the program that trained."""


BESIDE = {
    "optimizer": {"state": {0: {"exp_avg": Tensor(np.ones(4))}}, "param_groups": [{"lr": 1e-4}]},
    "args": argparse.Namespace(lr=1e-4, layers=[64, 32]),
    "best": np.float64(31.2),
    "history": np.arange(5.0),
    "scheduler": Schedule(milestones=collections.Counter([3])),
    "groups": collections.defaultdict(list, a=[1]),
    "seen": {1, 2},
    (3, "x"): frozenset("ab"),
    "quantised": Tensor(np.zeros(3, "<f4"), "QInt8Storage"),
    "when": datetime.datetime(2020, 1, 1),
    "function": len,
}


@pytest.mark.parametrize("wrapper", ["state_dict", "params_ema"])
@pytest.mark.parametrize("first", [False, True])
def test_what_lies_beside_a_state_dict_is_passed_over(tmp_path, dump, wrapper, first):
    wrapped = {wrapper: state_dict(arrays())}
    content = {**BESIDE, **wrapped} if first else {**wrapped, **BESIDE}
    check(tmp_path / "w.pth", dump(content))
    del content["quantised"]
    check(tmp_path / "w.pth", dump(content, legacy=True))


def test_what_lies_among_the_tensors_is_passed_over_unless_it_is_a_weight(tmp_path, dump):
    check(tmp_path / "w.pth", dump({**BESIDE, **state_dict(arrays())}))
    for value in (np.zeros(3), None, [1.0], argparse.Namespace()):
        (tmp_path / "w.pth").write_bytes(dump({**state_dict(arrays()), "conv2.bias": value}))
        check_one_line(tmp_path / "w.pth", "its 'conv2.bias' is no tensor")
    (tmp_path / "w.pth").write_bytes(dump({**BESIDE, "model": Model()}))
    check_one_line(tmp_path / "w.pth", "its 'model' is no tensor: it needs .*Model, which is code")


def test_an_ordered_dict_of_python_2(tmp_path, dump):
    """It is made from a list of pairs."""

    class Pairs:
        def __reduce__(self):
            pairs = [[name, Tensor(value)] for name, value in arrays().items()]
            return collections.OrderedDict, (pairs,)

    check(tmp_path / "w.pth", dump(Pairs(), legacy=True))


@pytest.mark.parametrize("kind", ["FloatStorage", "BFloat16Storage"])
def test_big_endian(tmp_path, dump, kind):
    state = {}
    for name, value in arrays().items():
        if kind == "BFloat16Storage":
            value = (value.view(np.uint32) >> 16).astype(np.uint16)
        strides = tuple(step // value.itemsize for step in value.strides)
        state[name] = Tensor(value.byteswap(), kind, strides=strides)
    check(tmp_path / "w.pth", dump(state, extra=[("byteorder", "big")]))


def test_any_folder_name_in_the_archive(tmp_path, dump):
    check(tmp_path / "w.pth", dump(state_dict(arrays()), prefix="srcnn_x3"))


@pytest.mark.parametrize("legacy", [False, True])
def test_strides_and_offsets(tmp_path, dump, legacy):
    """Tensors that are parts of one block, and a kernel in the order (out, row, column, in)."""
    values = arrays()
    block = np.concatenate([value.ravel() for value in values.values()])
    shared, state, offset = Tensor(block).storage, {}, 0
    for name, value in values.items():
        state[name] = Tensor(value, offset=offset)
        state[name].storage = shared
        offset += value.size
    last = values["conv3.weight"].transpose(0, 2, 3, 1).copy()
    state["conv3.weight"] = Tensor(last, shape=(1, 3, 3, 3), strides=(27, 1, 9, 3))
    check(tmp_path / "w.pth", dump(state, legacy))


def test_round_trip(tmp_path):
    values = arrays()
    for padding in ("same", "valid,same,valid"):
        original = weights.Network(pytorch.to_params(values), padding, 4, "y")
        weights.save(tmp_path / "w.pth", original)
        weights.save(tmp_path / "again.pth", weights.load(tmp_path / "w.pth"))
        assert (tmp_path / "w.pth").read_bytes() == (tmp_path / "again.pth").read_bytes()
        loaded = weights.load(tmp_path / "w.pth")
        assert (loaded.padding, loaded.scale, loaded.colour) == (padding, 4, "y")
    tensors, notes = pytorch_file.read(tmp_path / "w.pth")
    assert notes["format"] == "srcnn_jax"
    assert list(tensors) == list(values)
    for name, value in values.items():
        np.testing.assert_array_equal(tensors[name], value)


class Hostile:
    def __init__(self, function, *arguments):
        self.arguments = function, arguments

    def __reduce__(self):
        return self.arguments


@pytest.mark.parametrize("form", ["zip", "legacy", "first pickle"])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.mkdir, "posix.mkdir|nt.mkdir"), (eval, r"(__builtin__|builtins).eval")],
)
def test_code_is_refused_and_not_run(tmp_path, dump, form, function, name):
    mark = tmp_path / "run"
    argument = str(mark) if function is os.mkdir else f"__import__('os').mkdir({str(mark)!r})"
    state = {**state_dict(arrays()), "conv4.weight": Hostile(function, argument)}
    path = tmp_path / "w.pth"
    path.write_bytes(
        pickle.dumps(state["conv4.weight"])
        if form == "first pickle"
        else dump(state, form == "legacy")
    )
    with pytest.raises(ValueError, match=f"needs {name}, which is code"):
        weights.load(path)
    assert not mark.exists()


def test_whole_models_and_programs_are_refused(tmp_path, dump):
    path = tmp_path / "w.pth"
    path.write_bytes(dump({"model": Model()}))
    with pytest.raises(ValueError, match=r"needs .*Model, which is code .*state_dict\(\) alone"):
        weights.load(path)
    path.write_bytes(dump(state_dict(arrays()), extra=[("constants.pkl", "")]))
    with pytest.raises(ValueError, match="TorchScript"):
        weights.load(path)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"(ios\nsystem\n.", "INST"),
        (b"\x80\x02ccollections\nOrderedDict\n)}\x92.", "NEWOBJ_EX"),
        (b"\x80\x05\x96\x01" + bytes(8) + b".", "BYTEARRAY8"),
        (b"\x80\x02\x82\x01.", "EXT1"),
    ],
)
def test_other_instructions_are_refused(tmp_path, content, name):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    check_one_line(path, f"pickle instruction {name}")


def test_attributes_are_not_set(tmp_path, dump):
    """BUILD sets attributes, on whatever a file has been given."""
    path = tmp_path / "w.pth"
    rebuild = b"ctorch._utils\n_rebuild_parameter\n"
    path.write_bytes(b"\x80\x02" + rebuild + b"}X\x04\x00\x00\x00evilK\x01sb.")
    check_one_line(path, "not written by torch.save: it needs torch._utils._rebuild_parameter")
    state = state_dict(arrays())
    state.evil = 1
    check(path, dump(state))


def without(name):
    return {key: value for key, value in arrays().items() if not key.startswith(name)}


def change(name, value):
    return {**arrays(), name: value}


BAD = {
    "first layer missing": (without("conv1"), "conv2, conv3, number 1 is missing"),
    "middle layer missing": (without("conv2"), "conv1, conv3, number 2 is missing"),
    "last layer missing": (without("conv3"), "gives 3 channels, its first takes 1: is a layer"),
    "bias missing": (without("conv2.bias"), "there is no conv2.bias"),
    "bias only": (without("conv2.weight"), "there is no conv2.weight"),
    "nothing": ({}, "holds no (state_dict|tensors)"),
    "NaN": (change("conv3.bias", np.full(1, np.nan, "<f4")), "conv3 holds values that are not"),
    "axes as in TensorFlow": (
        change("conv1.weight", np.zeros((5, 5, 1, 4), "<f4")),
        r"conv1 has a weight of shape \(5, 5, 1, 4\) .* not \(out, in, f, f\)",
    ),
    "in and out swapped": (
        change("conv2.weight", np.zeros((4, 3, 1, 1), "<f4")),
        r"conv2 has a weight of shape \(4, 3, 1, 1\)",
    ),
    "even filter": (change("conv3.weight", np.zeros((1, 3, 2, 2), "<f4")), "must be odd"),
    "whole numbers": (change("conv3.bias", np.zeros(1, "<i8")), "conv3.bias holds int64"),
    "other names": (
        {f"head.{name}": value for name, value in arrays().items()}
        | {"tail.weight": np.zeros(1, "<f4")},
        "its layers are head.conv1, head.conv2, head.conv3, tail; known are",
    ),
    "normalisation": (change("bn.running_mean", np.zeros(1, "<f4")), "bn.running_mean is no layer"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_bad_networks(tmp_path, dump, suffix, case):
    values, message = BAD[case]
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        path.write_bytes(dump(state_dict(values)))
    else:
        from safetensors.numpy import save

        path.write_bytes(save(values))
    check_one_line(path, message)


BIAS = np.zeros(3, "<f4")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(BIAS, shape=(4,)),
        Tensor(BIAS, shape=(3, 1), strides=(1, 1), offset=1),
        Tensor(BIAS, strides=(2,)),
        Tensor(BIAS, strides=(-1,), offset=2),
        Tensor(BIAS, offset=-1),
        Tensor(BIAS, numel=4),
    ],
)
def test_shapes_that_do_not_fit_their_bytes(tmp_path, dump, tensor, legacy):
    path = tmp_path / "w.pth"
    path.write_bytes(dump({**state_dict(arrays()), "conv2.bias": tensor}, legacy))
    check_one_line(path, r"(conv2.bias of shape .*|block \d) does not fit its bytes: ")


def test_one_number_for_many(tmp_path, dump):
    """As `Tensor.expand` makes: strides of 0."""
    state = {**state_dict(arrays()), "conv2.bias": Tensor(BIAS[:1], shape=(3,), strides=(0,))}
    (tmp_path / "w.pth").write_bytes(dump(state))
    assert weights.load(tmp_path / "w.pth").params["conv2"]["bias"].tolist() == [0, 0, 0]
    state["conv2.bias"] = Tensor(BIAS[:1], shape=(10**12,), strides=(0,))
    (tmp_path / "w.pth").write_bytes(dump(state))
    check_one_line(tmp_path / "w.pth", "its tensors have 4000000000576 bytes in a file of")


def test_damaged_files(tmp_path, dump):
    path = tmp_path / "w.pth"
    for legacy in (False, True):
        whole = dump(state_dict(arrays()), legacy)
        for end in range(0, len(whole), 97):
            path.write_bytes(whole[:end])
            check_one_line(path)
    for content in (b"PK", b"not weights at all", b"\x00" * 100, pickle.dumps({"conv1": [1, 2]})):
        path.write_bytes(content)
        check_one_line(path)
    path.write_bytes(dump({"epoch": 3, "generator": state_dict(arrays())}))
    check_one_line(path, "no state_dict, directly or as state_dict, .*: its 'epoch' is no tensor")
    path.write_bytes(dump({"conv1.weight": Tensor(BIAS, "QInt8Storage")}))
    check_one_line(path, "needs torch.QInt8Storage")
    endless = {}
    endless["model"] = endless
    path.write_bytes(dump(endless))
    check_one_line(path, "holds no state_dict")


def test_against_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    values = arrays()
    original = weights.Network(pytorch.to_params(values), "valid", 3)
    weights.save(tmp_path / "w.pth", original)
    state = torch.load(tmp_path / "w.pth", weights_only=True)
    assert isinstance(state, collections.OrderedDict)
    for name, value in values.items():
        np.testing.assert_array_equal(state[name].numpy(), value)
    layers = [torch.nn.Conv2d(*SHAPES[name][1::-1], SHAPES[name][2]) for name in SHAPES]
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    names = [f"{index}.{kind}" for index in (0, 2, 4) for kind in ("weight", "bias")]
    network.load_state_dict(dict(zip(names, state.values(), strict=True)))
    torch.save(network.state_dict(), tmp_path / "new.pth")
    torch.save(
        {"model": network.state_dict()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False
    )
    torch.save(network.bfloat16().state_dict(), tmp_path / "short.pt")
    for name in ("new.pth", "old.pth", "short.pt"):
        check(tmp_path / name, (tmp_path / name).read_bytes())


def test_checkpoints_by_pytorch(tmp_path):
    """Whatever `torch.load(weights_only=True)` takes beside a state_dict, and more."""
    torch = pytest.importorskip("torch")
    layers = [torch.nn.Conv2d(*SHAPES[name][1::-1], SHAPES[name][2]) for name in SHAPES]
    network = torch.nn.Sequential(*layers)
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), arrays().values(), strict=True):
            parameter.copy_(torch.from_numpy(value))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.zeros(1, 1, 16, 16)).sum().backward()
    optimiser.zero_grad()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 5])
    beside = {
        "epoch": 3,
        "optimizer": optimiser.state_dict(),
        "scheduler": schedule.state_dict(),
        "device": torch.device("cpu"),
        "size": torch.Size([3, 4]),
        "dtype": torch.float16,
        "sparse": torch.eye(3).to_sparse(),
        "complex": torch.zeros(3, dtype=torch.complex64),
        "short": torch.zeros(3, dtype=torch.uint16),
        "generator": torch.get_rng_state(),
    }
    parameters = dict(network.named_parameters())
    for state in (network.state_dict(), parameters):
        for content in ({**beside, "model": state}, {"net": state, **beside}):
            torch.save(content, tmp_path / "w.pth")
            torch.load(tmp_path / "w.pth", weights_only=True)
            check(tmp_path / "w.pth", (tmp_path / "w.pth").read_bytes())
    args = {"args": argparse.Namespace(lr=1e-4), "best": np.float64(31.2)}
    for legacy in (False, True):
        torch.save(
            {**beside, **args, "state_dict": network.state_dict()},
            tmp_path / "w.pth",
            _use_new_zipfile_serialization=not legacy,
        )
        check(tmp_path / "w.pth", (tmp_path / "w.pth").read_bytes())
    state = {**parameters, "0.bias": torch._neg_view(parameters["0.bias"].data)}
    torch.save(state, tmp_path / "w.pth")
    check_one_line(tmp_path / "w.pth", "its '0.bias' is no tensor: it needs .*_rebuild_tensor_v2")
    torch.save(network, tmp_path / "w.pth")
    check_one_line(tmp_path / "w.pth", "needs torch.nn.modules.container.Sequential, which is code")
