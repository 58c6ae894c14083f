"""A bundle's inference config as it is on disk: where its parts are, before anything of it is parsed.

Nothing here runs what the config says. MONAI's own run goes by the evaluator, and so do we: the network, inferer,
postprocessing and, through its data loader, the preprocessing are those that the evaluator is given; without an
evaluator, those of the usual names. Data lists and training are left alone, and savers save nothing.

Format: docs.monai.io, MONAI Bundle Specification and Bundle Configuration.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai
from monai.bundle import ConfigParser
from monai.data import NumpyReader

from services.backends.inference.bundle_code import CONFIGS, config_file
from services.backends.inference.bundle_files import METADATA
from services.backends.inference.postprocessing import Saver
from services.backends.inference.registration import require_allowed
from services.triage.errors import ModelRefused

SECTIONS = ("", "validate#", "inference#", "evaluate#")
"""Where the parts may stand, beside the top level: a training config keeps those of its validation together."""

POSTPROCESSINGS = ("postprocessing", "post_transforms", "post_transform", "postprocess")
PREPROCESSINGS = ("preprocessing", "pre_transforms", "preprocess", "transforms")
OUR_READER = {"LoadImage", "LoadImaged", "LoadImageD", "LoadImageDict"}
SAVERS = {"SaveImage", "SaveImaged", "SaveImageD", "SaveImageDict"}
KEPT = {"keys", "resample", "padding_mode", "output_dtype", "_disabled_", "_requires_", "_mode_"}
"""Arguments of a saver: what it tells of its image, not where it writes."""

DROPPED = {"SwinUNETR": ("img_size",)}
"""Arguments that bundles still give and MONAI knows no more; they had no bearing on the network."""

_CUDA = re.compile(r"(['\"])cuda(?::\d+)?\1")
_CUDA_CALL = re.compile(r"\.cuda\(\s*\d*\s*\)")
_IMPORT = re.compile(r"^\$\s*(?:from\s+(?P<package>[\w.]+)\s+)?import\s+(?P<name>[\w.]+)(?:\s+as\s+(?P<alias>\w+))?")


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """What will be parsed of a config, and the ids at which its parts stand ('a#b#0').

    content: the config without macros, its hard-coded GPUs and savers replaced by ours, unused imports left out.
    checkpoints: of the CheckpointLoaders. amp: id of the evaluator's flag.
    """

    content: dict[str, Any]
    network: str
    preprocessing: str
    postprocessing: str
    inferer: str | None
    amp: str | None
    checkpoints: tuple[str, ...]


def read_config(bundle: Path, device: str) -> InferenceConfig:
    """Read and understand configs/inference.json or .yaml; nothing of it is run, and nothing read that may not be.

    Raises ModelRefused: needs_trust, runs_only_in_triton (code in it), no_inference_config, bad_inference_config,
    missing_section (its key is told), unsupported_evaluator (detection, prompts, classes of the bundle's own),
    old_monai.
    """
    _require_monai()
    try:
        require_allowed(bundle)
    except ModelRefused:
        _require_evaluator(_plain(bundle))  # what trust would not help is told first
        raise
    parser = ConfigParser(_on_device(_read(bundle), device))
    parser["bundle_root"] = str(bundle)
    parser["device"] = f"$torch.device('{device}')"
    try:
        parser.resolve_macro_and_relative_ids()
    except (ValueError, KeyError, OSError) as error:
        raise ModelRefused("bad_inference_config", f"a macro of the inference config: {error}") from error
    _save_nothing(parser)
    found = _parts(parser)
    _leave_out_imports(parser, found)
    return found


def class_name(value: Any) -> str:
    """The last word of a component's `_target_`; '' when it is none."""
    target = value.get("_target_") if isinstance(value, dict) else None
    return target.rpartition(".")[2] if isinstance(target, str) else ""


def components(value: Any, at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All components (`_target_`) with their ids, in the order of the file."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield at, value
        for key, part in value.items():
            yield from components(part, f"{at}#{key}" if at else str(key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from components(part, f"{at}#{index}")


def _require_monai() -> None:
    """The allow-list lets a bundle have any file read. Before 1.6 MONAI unpickled a .npy, and so ran what is in it.

    Triton's Python has its MONAI by hand, where nothing holds it to our range (docs/triton.md).
    """
    if getattr(NumpyReader(), "allow_pickle", True):
        text = f"MONAI {monai.__version__} would run code that lies in a bundle's arrays: install 'monai>=1.6,<2'"
        raise ModelRefused("old_monai", text)


def _file(bundle: Path) -> Path | None:
    return next((bundle / "configs" / name for name in CONFIGS if (bundle / "configs" / name).is_file()), None)


def _read(bundle: Path) -> dict[str, Any]:
    """As the allow-list has read it, and not by MONAI's own loader: what was checked is what is parsed."""
    file = _file(bundle)
    if file is None:
        raise ModelRefused("no_inference_config", f"bundle '{bundle.name}' has none of configs/{', '.join(CONFIGS)}")
    try:
        content: dict[str, Any] = config_file.read(file)
        if (bundle / METADATA).is_file():
            content["_meta_"] = config_file.read(bundle / METADATA)
    except config_file.Unreadable as error:
        raise ModelRefused("bad_inference_config", f"{file.name} of '{bundle.name}': {error}") from error
    content = {key: _macros_of(part, bundle) for key, part in content.items()}
    for _, component in components(content):
        name = class_name(component)
        for argument in ("reader", *DROPPED.get(name, ())) if name in OUR_READER else DROPPED.get(name, ()):
            component.pop(argument, None)
    return content


def _macros_of(value: Any, bundle: Path) -> Any:
    """Macros (`%file.json#id`) name their file from the bundle's root; MONAI would look in the working folder."""
    if isinstance(value, dict):
        return {key: _macros_of(part, bundle) for key, part in value.items()}
    if isinstance(value, list):
        return [_macros_of(part, bundle) for part in value]
    if isinstance(value, str) and value.startswith("%"):
        path, _ = ConfigParser.split_path_id(value[1:])
        inside = [file for file in (bundle / path, bundle / "configs" / path) if path and file.is_file()]
        if inside:
            return f"%{inside[0]}{value[1 + len(path) :]}"
    return value


def _on_device(value: Any, device: str) -> Any:
    """Every 'cuda' and .cuda() becomes our device."""
    if isinstance(value, dict):
        return {key: _on_device(part, device) for key, part in value.items()}
    if isinstance(value, list):
        return [_on_device(part, device) for part in value]
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"cuda(:\d+)?", value):
        return device
    return _CUDA_CALL.sub(f".to('{device}')", _CUDA.sub(rf"\g<1>{device}\g<1>", value))


def _save_nothing(parser: ConfigParser) -> None:
    """Put our Saver in the place of each of MONAI's: a bundle would have it write to any folder, from any step.

    After the macros, for they copy savers; and before anything is parsed.
    """
    for _, component in components(parser.get()):
        if class_name(component) in SAVERS:
            kept = {key: value for key, value in component.items() if key in KEPT}
            component.clear()
            component.update({"_target_": f"{Saver.__module__}.{Saver.__name__}", **kept})


def _parts(parser: ConfigParser) -> InferenceConfig:
    evaluator = _require_evaluator(parser.get())
    network = _part(parser, evaluator, "network", ("network", "network_def", "net"))
    loaded = _follow(parser, evaluator, "val_data_loader", "dataset", "transform")
    handlers = _follow(parser, evaluator, "val_handlers")
    handled = next((at for at, one in _below(parser, handlers) if class_name(one) == "PostProcessing"), None)
    return InferenceConfig(
        content=parser.get(),
        network=_required(network, "network"),
        preprocessing=_required(loaded or _part(parser, None, "", PREPROCESSINGS), "preprocessing"),
        postprocessing=_required(
            _part(parser, evaluator, "postprocessing", ())
            or _follow(parser, handled, "transform")
            or _part(parser, None, "", POSTPROCESSINGS),
            "postprocessing",
        ),
        inferer=_part(parser, evaluator, "inferer", ("inferer",)),
        amp=_part(parser, evaluator, "amp", ()),
        checkpoints=tuple(at for at, one in components(parser.get()) if class_name(one) == "CheckpointLoader"),
    )


def _plain(bundle: Path) -> dict[Any, Any]:
    """The config as plain data, nothing where it cannot be read, or is too much to look through."""
    path = _file(bundle)
    try:
        content = config_file.read(path) if path else {}
        for _ in config_file.walk(content):
            pass
    except config_file.Unreadable:
        return {}
    return content


def _require_evaluator(content: Any) -> str | None:
    """Id of the evaluator, None without one.

    Raises ModelRefused for one that does more than call the inferer: nothing else is known to make labels.
    """
    found = [(at, one) for at, one in components(content) if class_name(one).endswith("Evaluator")]
    for at, one in found:
        if class_name(one) == "SupervisedEvaluator" and not {"prepare_batch", "iteration_update"} & one.keys():
            return at
    if found:
        at, one = found[0]
        what = class_name(one) if class_name(one) != "SupervisedEvaluator" else "an evaluator with its own batches"
        text = f"'{at}' is {what}: only bundles whose SupervisedEvaluator segments volumes run (no detection, prompts)"
        raise ModelRefused("unsupported_evaluator", text)
    return None


def _part(parser: ConfigParser, evaluator: str | None, argument: str, names: tuple[str, ...]) -> str | None:
    """The evaluator's argument, or the first of the names that is there."""
    given = _follow(parser, evaluator, argument) if argument else None
    usual = (f"{section}{name}" for section in SECTIONS for name in names)
    return given or next((_followed(parser, at) for at in usual if parser.get(at) is not None), None)


def _follow(parser: ConfigParser, at: str | None, *arguments: str) -> str | None:
    """The id that a chain of arguments leads to, references followed; None when it ends before."""
    for argument in arguments:
        if at is None or parser.get(f"{at}#{argument}") is None:
            return None
        at = _followed(parser, f"{at}#{argument}")
    return at


def _followed(parser: ConfigParser, at: str) -> str:
    while isinstance(value := parser.get(at), str) and re.fullmatch(r"@[\w#:]+", value):
        at = value[1:].replace("::", "#")
    return at


def _below(parser: ConfigParser, at: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from components(parser.get(at), at) if at is not None else ()


def _required(found: str | None, name: str) -> str:
    if found is None:
        raise ModelRefused("missing_section", f"the inference config has no '{name}'")
    return found


def _leave_out_imports(parser: ConfigParser, found: InferenceConfig) -> None:
    """Take out imports that nothing we need names: MONAI runs all of them, also those that only the data list needs."""
    checkpoints = [f"{at}#{name}" for at in found.checkpoints for name in ("load_path", "load_dict", "_disabled_")]
    roots = [found.network, found.preprocessing, found.postprocessing, found.inferer, found.amp, *checkpoints]
    text = " ".join(_texts(parser, [root for root in roots if root is not None]))
    for key in ("imports", "import"):
        kept = [one for one in _listed(parser.get(key)) if _is_named(one, text)]
        if key in parser.get():
            parser[key] = kept


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_named(statement: Any, text: str) -> bool:
    told = _IMPORT.match(statement) if isinstance(statement, str) else None
    if told is None:
        return True
    name = told["alias"] or told["name"].partition(".")[0]
    return re.search(rf"\b{name}\b", text) is not None


def _texts(parser: ConfigParser, roots: list[str]) -> Iterator[str]:
    """All strings of some parts and of what they refer to."""
    seen: set[str] = set()
    while roots:
        at = roots.pop()
        if at in seen:
            continue
        seen.add(at)
        for text in _strings(parser.get(at)):
            yield text
            roots += [one.replace("::", "#") for one in parser.ref_resolver.match_refs_pattern(text)]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
