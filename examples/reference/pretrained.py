"""The whole model in a folder: ross3d.json, blocks.safetensors, host, adapter, tokenizer, card."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ross3d import (
    ModelCard,
    __version__,
    from_config,
    load_weights,
    pretrained_folder,
    require,
    save_tensors,
    to_config,
)

from .files import read_json, remove, replacing
from .host_folder import (
    REFERENCE,
    adapter_names,
    add_adapter,
    check_same,
    checksums,
    describe_host,
    load_host,
    own_tensors,
    save_adapter,
    save_host,
)
from .model_card import model_card
from .saved_classes import CLASSES, LMMS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ross3d import GroundingHead, PositionAwareEncoder, ReconstructionLoss, ViewMasker

    from .inputs import InputRepresentation
    from .model import Ross3D
    from .no_reconstruction import NoReconstruction

FORMAT = 1
DESCRIPTION, BLOCKS, CARD = "ross3d.json", "blocks.safetensors", "README.md"
HOST, ADAPTER, TOKENIZER = "host", "adapter", "tokenizer"
HOSTS = "lmm.host."
PARTS = ("lmm", "masker", "positions", "grounding", "reconstruction", "representation")


def save_model(
    model: Ross3D,
    folder: str | PathLike[str],
    *,
    host: str = "inside",
    tokenizer: PreTrainedTokenizerBase | None = None,
    recipe: Mapping[str, Any] | None = None,
    license: str | None = None,
    card: ModelCard | None = None,
) -> None:
    """Write a model; every file takes its name once all of them are written.

    Args:
        model: on any device.
        folder: made if it is not there.
        host: "inside" = its weights too; "reference" = where it came from, and of its weights those
            that train: an adapter, a projector.
        tokenizer: of the host.
        recipe: ``options``, ``preset`` and ``step`` of the run, for who goes on with the model.
        license: of the weights, for README.md.
        card: what README.md says; None = what is known.

    Raises:
        ValueError: if the host cannot be saved so.
    """
    path, described, own = Path(folder), None, None
    config = {"lmm": _lmm_config(model.lmm)}
    config |= {name: to_config(getattr(model, name), CLASSES) for name in PARTS[1:]}
    inner = model.lmm.host if "class" in config["lmm"] else None
    if inner is not None:
        described, own = describe_host(inner, host), own_tensors(inner, host)
        described["own"] = sorted(own)
        described["checksums"] = checksums(inner, own) if host == REFERENCE else {}
    content = {"format": FORMAT, "ross3d": __version__, "class": type(model).__name__}
    content |= {"config": config, "host": described, "recipe": recipe}
    card, state = card or model_card(content, license=license), model.state_dict()
    path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:  # what is entered first takes its name last
        files = {name: stack.enter_context(replacing(path / name)) for name in (DESCRIPTION, CARD)}
        text = json.dumps(content, indent=2) + "\n"
        files[DESCRIPTION].write_text(text, encoding="utf-8")
        files[CARD].write_text(card.text(), encoding="utf-8")
        blocks = stack.enter_context(replacing(path / BLOCKS))
        save_tensors(blocks, {name: state[name] for name in _names(model, own)})
        writers: dict[str, Callable[[Path], object] | None] = {
            TOKENIZER: tokenizer and tokenizer.save_pretrained,
            ADAPTER: partial(save_adapter, inner) if adapter_names(inner) else None,
            HOST: partial(save_host, inner) if inner is not None and host != REFERENCE else None,
        }
        for name, write in writers.items():
            if write is not None:
                write(stack.enter_context(replacing(path / name)))
    for name, write in writers.items():
        if write is None:
            remove(path / name)


def load_model(
    kind: type[Ross3D],
    folder: str | PathLike[str],
    host: PreTrainedModel | None = None,
    *,
    revision: str | None = None,
    **parts: Any,
) -> Ross3D:
    """Load a model that ``save_model`` wrote, in evaluation mode.

    Args:
        kind: its class.
        folder: the folder, or the id of a repository on the Hugging Face Hub.
        host: takes the place of the saved one: the same model, already in memory.
        revision: of the repository.
        **parts: what the file could not describe, by the names of constructors' arguments: a
            ``tokenizer`` (teacher), an ``encoder``, an ``lmm`` of one's own.

    Raises:
        FileNotFoundError: if there is no such folder, or a file is missing.
        ValueError: naming the file, if it is damaged or does not fit, or a part must be given.
    """
    path = pretrained_folder(folder, revision)
    file, saved = path / DESCRIPTION, read_description(path)
    if saved["class"] != kind.__name__:
        raise ValueError(f"class of {file} must be {kind.__name__!r}; got {saved['class']!r}")
    config, described = saved["config"], saved["host"]
    if described is not None and "lmm" not in parts:
        arguments = config["lmm"].get("config", {})
        held = [name for name, value in arguments.items() if value == {"given": HOST}]
        if len(held) != 1:
            raise ValueError(f"lmm of {file} must take the host; got {config['lmm']}")
        parts[f"lmm.{held[0]}"] = _find_host(host, described, path)
    make = partial(_assemble, kind)
    model = from_config(config, make, file, parts=parts, classes=CLASSES, meta=True)
    own = None if described is None else set(described["own"])
    load_weights(path / BLOCKS, model, assign=True, names=_names(model, own))
    if own is not None and described["place"] == REFERENCE:
        check_same(model.lmm.host, described["checksums"], file)
        for name, parameter in model.lmm.host.named_parameters():
            parameter.requires_grad_(name in own)
    return model.eval()


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder that ``save_model`` wrote.

    Raises:
        ValueError: if there is none.
    """
    place = Path(folder) / TOKENIZER
    if not place.is_dir():
        raise ValueError(f"{folder} must hold a tokenizer; got no folder {TOKENIZER}")
    return require("transformers", "hf").AutoTokenizer.from_pretrained(str(place))


def is_saved_model(folder: Path | str) -> bool:
    """Whether ``save_model`` wrote this folder."""
    return (Path(folder) / DESCRIPTION).is_file()


def read_description(folder: Path) -> dict[str, Any]:
    """Read ross3d.json.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or of another format.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        raise FileNotFoundError(f"{file} must be what save_pretrained wrote; got no such file")
    content = read_json(file)
    if content.get("format") != FORMAT:
        raise ValueError(f"format of {file} must be {FORMAT}; got {content.get('format')!r}")
    config, host = content.get("config"), content.get("host")
    if not isinstance(config, dict) or set(config) != set(PARTS):
        raise ValueError(f"config of {file} must hold {', '.join(PARTS)}; got {config!r}")
    wanted = {"own": list, "place": str, "checksums": dict}
    held = host if isinstance(host, dict) else {}
    if host is not None and any(not isinstance(held.get(k), kind) for k, kind in wanted.items()):
        raise ValueError(f"host of {file} must hold {', '.join(wanted)}; got {host!r}")
    return content


def _assemble(
    kind: type[Ross3D],
    *,
    lmm: Any,
    masker: ViewMasker,
    positions: PositionAwareEncoder,
    grounding: GroundingHead,
    reconstruction: ReconstructionLoss | NoReconstruction,
    representation: InputRepresentation,
) -> Ross3D:
    """Put the parts of a model together."""
    dim = len(masker.mask_token)
    model = kind(lmm, reconstruction, dim, representation=representation)
    model.masker, model.positions, model.grounding = masker, positions, grounding
    return model


def _find_host(
    host: PreTrainedModel | None, described: Mapping[str, Any], path: Path
) -> PreTrainedModel:
    """The host that was given or saved, with its adapter."""
    if host is None:
        host = load_host(described, path / HOST)
    elif type(host).__name__ != described["class"]:
        raise ValueError(f"host must be a {described['class']}; got a {type(host).__name__}")
    adapter = described["adapter"]
    if adapter is not None and adapter not in adapter_names(host):
        add_adapter(host, adapter, path / ADAPTER)
    return host


def _lmm_config(lmm: Any) -> dict[str, Any]:
    """Describe an adapter: it keeps the arguments of its constructor under their names."""
    kind = type(lmm)
    if LMMS.get(kind.__name__) is not kind:
        return {"given": kind.__name__}
    config: dict[str, Any] = {}
    for name in inspect.signature(kind).parameters:
        of_host = name in ("host", "decoder")
        config[name] = {"given": HOST} if of_host else to_config(getattr(lmm, name), CLASSES)
    return {"class": kind.__name__, "config": config}


def _names(model: Ross3D, own: Collection[str] | None) -> list[str]:
    """The tensors of blocks.safetensors: all but the host's that are in another file."""
    kept = None if own is None else {f"{HOSTS}{name}" for name in own}
    names = model.state_dict()
    return [name for name in names if kept is None or name in kept or not name.startswith(HOSTS)]
