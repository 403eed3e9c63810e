"""A block's file is read where it lies, or is missed before the run with the place to bring it to."""

from pathlib import Path
from typing import Any

import pytest
from datatrove import io
from midtrain.errors import ConfigError
from midtrain.filters import datatrove_files


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """datatrove's function as a block has it, on a machine without a network, with a cache of its own."""
    from datatrove.utils import lid

    def unreachable(remote_path: str, local_path: str, progress: bool = True) -> None:
        raise ConnectionError("Network is unreachable")

    monkeypatch.setattr(io, "download_file", unreachable)
    monkeypatch.setattr(io, "cached_assets_path", lambda **names: tmp_path / "cache" / names["subfolder"])
    (tmp_path / "cache/lid").mkdir(parents=True)
    datatrove_files.guard()
    datatrove_files.guard()  # once is enough, twice does no harm
    return lid.cached_asset_path_or_download  # type: ignore[attr-defined]


def test_a_local_file_is_read_where_it_lies(tmp_path: Path, download: Any) -> None:
    model = tmp_path / "model.ftz"
    model.write_bytes(b"model")
    assert download(str(model), namespace="filters") == str(model)


def test_without_a_network_the_place_is_told_and_a_file_there_is_taken(tmp_path: Path, download: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be had: ConnectionError: Network is unreachable") as raised:
        download("https://models.example/lid/a.bin", namespace="lid", subfolder="lid")
    place = tmp_path / "cache/lid/https:__models.example_lid_a.bin"
    assert raised.value.what.startswith("https://models.example/lid/a.bin, which a block")
    assert raised.value.fix.startswith(f"bring it to {place} by hand")
    place.write_bytes(b"model")
    place.with_name(f"{place.name}.completed").touch()
    assert download("https://models.example/lid/a.bin", namespace="lid", subfolder="lid") == str(place)


@pytest.mark.parametrize(("library", "error"), [("aiohttp", "ClientPayloadError"), ("httpx", "ConnectError")])
def test_the_errors_of_a_library_that_downloads_are_told_too(
    download: Any, monkeypatch: pytest.MonkeyPatch, library: str, error: str
) -> None:
    kind = getattr(pytest.importorskip(library), error)  # none of Python's own

    def refused(remote_path: str, local_path: str, progress: bool = True) -> None:
        raise kind("Name or service not known")

    monkeypatch.setattr(io, "download_file", refused)
    with pytest.raises(ConfigError, match=f"cannot be had: {error}: Name or service not known"):
        download("hf://models/a.bin", namespace="lid", subfolder="lid")


def test_a_local_file_that_is_not_there_is_to_be_named_rightly(tmp_path: Path, download: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be had") as raised:
        download(str(tmp_path / "none.bin"), subfolder="lid")
    assert raised.value.fix == "name a file that is there"
