"""An ONNX classifier before and after its last layer, and the sentence for every file that is not one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sibling_files import TinyNetwork, build_model, save_onnx

from emo_affectnet.engines import normalize_crops
from emo_affectnet.errors import CorruptWeights, MissingWeights, WrongArchitecture
from emo_affectnet.zoo.hsemotion import SIBLINGS, UNAVAILABLE, Sibling
from emo_affectnet.zoo.onnx_network import OnnxNetwork

EVERY = {**SIBLINGS, **UNAVAILABLE}
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}  # other runtimes sum in another order


def make_crops(sibling: Sibling, count: int = 3) -> np.ndarray:
    size = sibling.preprocessing.input_size
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)


SEVEN_SIBLING = SIBLINGS["enet_b2_7"]


def open_network(path: Path, sibling: Sibling = SEVEN_SIBLING) -> OnnxNetwork:
    size = sibling.preprocessing.input_size
    return OnnxNetwork(path, input_size=size, feature_width=sibling.feature_width, outputs=sibling.outputs)


def test_last_layer_may_be_a_product_and_a_sum(tmp_path: Path) -> None:
    network = TinyNetwork.random(SEVEN_SIBLING)
    model = build_model(network, SEVEN_SIBLING)
    split_gemm(model)
    opened = open_network(save_onnx(tmp_path / "split.onnx", model))
    x = normalize_crops(make_crops(SEVEN_SIBLING), SEVEN_SIBLING.preprocessing)
    np.testing.assert_allclose(opened.score(opened.embed(x)), network.run(x)[1], **ROUNDING)


def split_gemm(model: onnx.ModelProto, *, weights: str = "classifier.weight") -> None:
    """Replace the last Gemm by a MatMul and an Add, as some exporters do."""
    last = model.graph.node.pop()
    turned = numpy_helper.to_array(find(model, "classifier.weight")).T
    find(model, "classifier.weight").CopyFrom(
        numpy_helper.from_array(np.ascontiguousarray(turned), "classifier.weight")
    )
    model.graph.node.append(helper.make_node("MatMul", [last.input[0], weights], ["product"]))
    model.graph.node.append(helper.make_node("Add", ["classifier.bias", "product"], ["output"]))


def find(model: onnx.ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def set_gemm(model: onnx.ModelProto, **settings: float) -> None:
    for setting in model.graph.node[-1].attribute:
        if setting.name in settings:
            setting.CopyFrom(helper.make_attribute(setting.name, settings[setting.name]))


@pytest.mark.parametrize("settings", [{"alpha": 0.5, "beta": 3.0}, {"transB": 0}], ids=["scaled", "turned"])
def test_gemm_is_read_with_its_settings(tmp_path: Path, settings: dict[str, float]) -> None:
    import onnxruntime

    model = build_model(TinyNetwork.random(SEVEN_SIBLING), SEVEN_SIBLING)
    set_gemm(model, **settings)
    if settings.get("transB") == 0:
        turned = numpy_helper.to_array(find(model, "classifier.weight")).T
        find(model, "classifier.weight").CopyFrom(
            numpy_helper.from_array(np.ascontiguousarray(turned), "classifier.weight")
        )
    path = save_onnx(tmp_path / "set.onnx", model)
    network = open_network(path)
    x = normalize_crops(make_crops(SEVEN_SIBLING), SEVEN_SIBLING.preprocessing)
    whole = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]
    np.testing.assert_allclose(network.score(network.embed(x)), whole, **ROUNDING)


def test_input_may_have_any_name_and_free_sides_and_gemm_no_bias(tmp_path: Path) -> None:
    network = TinyNetwork.random(SEVEN_SIBLING)
    network.bias[:] = 0
    model = build_model(network, SEVEN_SIBLING)
    model.graph.node[0].input[0] = model.graph.input[0].name = "faces"
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_param = "side"
    del model.graph.node[-1].input[2]
    # Exporters before IR 4 listed the weights among the inputs too.
    model.graph.input.append(helper.make_tensor_value_info("widening.bias", TensorProto.FLOAT, [1408]))
    opened = open_network(save_onnx(tmp_path / "named.onnx", model))
    x = normalize_crops(make_crops(SEVEN_SIBLING), SEVEN_SIBLING.preprocessing)
    np.testing.assert_allclose(opened.score(opened.embed(x)), network.run(x)[1], **ROUNDING)


def append_node(kind: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "logits"
        model.graph.node.append(helper.make_node(kind, ["logits"], ["output"], domain=domain))

    return change


def set_type(kind: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = kind

    return change


def fix_batch(model: onnx.ModelProto) -> None:
    axis = model.graph.input[0].type.tensor_type.shape.dim[0]
    axis.Clear()
    axis.dim_value = 1


def add_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))


def compute_weights(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Identity", ["classifier.weight"], ["computed"]))
    model.graph.node[-1].input[1] = "computed"


def compute_product(model: onnx.ModelProto) -> None:
    split_gemm(model, weights="computed")
    model.graph.node.insert(0, helper.make_node("Identity", ["classifier.weight"], ["computed"]))


def set_tensor(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[onnx.ModelProto], None]:
    def apply(model: onnx.ModelProto) -> None:
        tensor = find(model, name)
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))

    return apply


def keep_elsewhere(model: onnx.ModelProto) -> None:
    from onnx.external_data_helper import set_external_data

    set_external_data(find(model, "body.weight"), location="weights.data")


def set_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


def set_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 999


def misshape_features(model: onnx.ModelProto) -> None:
    """Give each image's features an axis too many; only running it shows that."""
    model.graph.node[-1].input[0] = "deep"
    axes = helper.make_node("Unsqueeze", ["onnx::Gemm_7"], ["deep"], axes=[0])
    model.graph.node.insert(len(model.graph.node) - 1, axes)


def break_running(model: onnx.ModelProto) -> None:
    """Reshape to a size that only the running graph turns out not to have."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 17], np.int64), "shape"))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "side"
    reshape = helper.make_node("Reshape", ["maps"], ["reshaped"])
    reshape.input.append("shape")
    model.graph.node.insert(1, reshape)
    model.graph.node.insert(2, helper.make_node("ReduceSum", ["reshaped"], ["sum"], keepdims=0))
    model.graph.node.insert(3, helper.make_node("Add", ["maps", "sum"], ["more"]))
    model.graph.node[4].input[0] = "more"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add_input, "with one input and one output, but it has 2 and 1"),
        (set_type(TensorProto.FLOAT16), "of float images (any, 3, 260, 260), but its input is float16 (any, 3, 260,"),
        (fix_batch, "of float images (any, 3, 260, 260), but its input is float (1, 3, 260, 260)"),
        (append_node("Softmax"), "it ends in a Softmax, so that it gives no logits; export it without"),
        (append_node("DequantizeLinear"), "it ends in DequantizeLinear: it is quantised; give the published float"),
        (append_node("FusedGemm", "com.microsoft"), "it ends in FusedGemm: it was optimised for one runtime"),
        (append_node("Identity"), "it ends in Identity; give the published file"),
        (compute_weights, "it ends in Gemm without stored weights; give the published file"),
        (compute_product, "it ends in Add without stored weights; give the published file"),
        (lambda model: set_gemm(model, transB=0), "a bias for each output, but they are (7, 1408), (7,)"),
        (
            lambda model: model.graph.node[-1].attribute.append(helper.make_attribute("transA", 1)),
            "takes features (N, D), but it takes them turned about (transA)",
        ),
        (set_tensor("classifier.bias", lambda bias: bias[:3]), "a bias for each output, but they are (1408, 7), (3,)"),
        (set_tensor("classifier.bias", lambda bias: bias.astype(np.float64)), "classifier.bias is float64"),
        (keep_elsewhere, "in one file, but it keeps its weights in a second one, which no hash covers"),
        (set_opset, "can run, but it cannot be loaded ("),
        (set_ir, "Unsupported model IR version: 999"),
        (misshape_features, "with features (1, 1408) of one image, but they are (1, 1, 1408)"),
        (break_running, "that runs, but ONNX Runtime says: "),
        (append_node("Mystery", "elsewhere"), "it ends in Mystery"),
    ],
    ids=lambda value: "" if isinstance(value, str) else getattr(value, "__name__", "change"),
)  # fmt: skip
def test_graph_of_another_make_is_refused_with_the_reason(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], words: str
) -> None:
    model = build_model(TinyNetwork.random(SEVEN_SIBLING), SEVEN_SIBLING)
    change(model)
    path = save_onnx(tmp_path / "other.onnx", model)
    with pytest.raises(WrongArchitecture) as caught:
        open_network(path)
    assert str(caught.value).startswith(f"{path} should be an ONNX classifier ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("enet_b2_8", "with 7 outputs, but it has 8"),
        ("enet_b0_7", r"of float images \(any, 3, 260, 260\), but its input is float \(any, 3, 224, 224\)"),
    ],
)
def test_file_of_another_sibling_is_refused(tmp_path: Path, name: str, words: str) -> None:
    path = save_onnx(tmp_path / "other.onnx", build_model(TinyNetwork.random(EVERY[name]), EVERY[name]))
    with pytest.raises(WrongArchitecture, match=words):
        open_network(path)


def test_features_of_another_width_are_refused(tmp_path: Path) -> None:
    sibling = SIBLINGS["mobilevit_va_mtl"]  # which reads and puts out what enet_b0_8_va_mtl does
    path = save_onnx(tmp_path / "other.onnx", build_model(TinyNetwork.random(sibling), sibling))
    with pytest.raises(WrongArchitecture, match="with 1280 features, but it has 768"):
        open_network(path, SIBLINGS["enet_b0_8_va_mtl"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer; run 'git lfs pull'"),
        (b"\n<!DOCTYPE html><html>", "a web page; download the file itself"),
        (b"PK\x03\x04archive", "a PyTorch file; a pickled module can run code and is refused"),
        (b"\x80\x02cposix\nsystem", "a pickle, which can run code and is refused"),
        (b"\x89HDF\r\n\x1a\n", "a Keras file; give the published .onnx"),
        (b"", "it is empty"),
        (b"nothing of the kind", "it is damaged, cut short or something else (19 bytes)"),
        (onnx.ModelProto(ir_version=7).SerializeToString(), "it is damaged, cut short or something else (2 bytes)"),
    ],
    ids=["pointer", "page", "zip", "pickle", "keras", "empty", "text", "no graph"],
)
def test_what_is_no_onnx_is_told_apart(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file.onnx"
    path.write_bytes(content)
    with pytest.raises(CorruptWeights) as caught:
        open_network(path)
    assert str(caught.value).startswith(f"{path} should be an ONNX file, but ")
    assert words in str(caught.value)


def test_missing_onnx_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"Expected an ONNX file at .*none\.onnx, but there is none"):
        open_network(tmp_path / "none.onnx")
    with pytest.raises(MissingWeights, match="but it is a folder"):
        open_network(tmp_path)


@pytest.mark.parametrize("name", ["classifier.weight", "widening.weight"])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, name: str) -> None:
    model = build_model(TinyNetwork.random(SEVEN_SIBLING), SEVEN_SIBLING)
    set_tensor(name, lambda array: np.full_like(array, np.nan))(model)
    with pytest.raises(CorruptWeights, match="should hold finite weights"):
        open_network(save_onnx(tmp_path / "nan.onnx", model))


def test_tensor_that_lacks_values_is_damaged(tmp_path: Path) -> None:
    model = build_model(TinyNetwork.random(SEVEN_SIBLING), SEVEN_SIBLING)
    bias = find(model, "classifier.bias")
    bias.raw_data = bias.raw_data[:-4]
    with pytest.raises(CorruptWeights, match="it is damaged, cut short"):
        open_network(save_onnx(tmp_path / "short.onnx", model))


def test_graph_without_a_last_node_is_damaged(tmp_path: Path) -> None:
    model = build_model(TinyNetwork.random(SEVEN_SIBLING), SEVEN_SIBLING)
    model.graph.node.pop()
    with pytest.raises(CorruptWeights, match="damaged, cut short"):
        open_network(save_onnx(tmp_path / "cut.onnx", model))


def test_random_damage_is_our_error_or_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # Bytes of a weight may change unseen, which is what hashes are for; everything else must be told.
    sibling = SIBLINGS["mbf_va_mtl"]
    path = save_onnx(tmp_path / "whole.onnx", build_model(TinyNetwork.random(sibling), sibling))
    data = np.fromfile(path, np.uint8)
    random, told = np.random.default_rng(0), 0
    for _ in range(100):
        spoiled = data.copy()
        spoiled[random.integers(0, 700, 4)] = random.integers(0, 256, 4)  # where the nodes are
        spoiled.tofile(path)
        try:
            open_network(path, sibling)
        except (CorruptWeights, WrongArchitecture):
            told += 1
    assert told > 50
    assert capfd.readouterr() == ("", "")  # ONNX Runtime prints errors, and what it tries next, unless told not to


def test_file_cut_short_is_damaged(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "cut.onnx", build_model(TinyNetwork.random(SEVEN_SIBLING), SEVEN_SIBLING))
    data = path.read_bytes()
    for length in (1, 100, 5000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptWeights, match=f"damaged, cut short or something else \\({length} bytes\\)"):
            open_network(path)


def test_threads_are_those_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    asked = []
    real = onnxruntime.InferenceSession

    def start(model: bytes, options: onnxruntime.SessionOptions, **others: object) -> onnxruntime.InferenceSession:
        asked.append(options.intra_op_num_threads)
        return real(model, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    path = save_onnx(tmp_path / "a.onnx", build_model(TinyNetwork.random(SEVEN_SIBLING), SEVEN_SIBLING))
    OnnxNetwork(path, input_size=260, feature_width=1408, outputs=7, threads=2)
    open_network(path)
    assert asked == [2, 0]  # 0: ONNX Runtime's own choice
