"""NLTK's WordNet and perceptron tagger: fetched, checked and laid out for `Lexicon.load(folder)`.

    FOLDER/corpora/wordnet/...                          as NLTK has it
    FOLDER/taggers/averaged_perceptron_tagger_eng/...   three JSON files, nothing that is unpickled
    FOLDER/lexicon.tsv.gz                               the table made of WordNet
    FOLDER/sources.json                                 where each package came from, with sha256

The index and its checksums are NLTK's, the transfer is urllib's: NLTK's own downloader refuses
proxies and hosts of private networks, which is where clusters keep their mirrors.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

from nltk.corpus.reader.wordnet import WordNetError
from nltk.downloader import Downloader

from taclean.errors import UserError
from taclean.files import replacing, write_json
from taclean.text.lexicon import Lexicon
from taclean.text.perceptron import FILES as TAGGER_FILES
from taclean.text.perceptron import TAGGER, TaggedLexicon, read_tagger
from taclean.text.wordnet import export, write_lexnames

INDEX = Downloader.DEFAULT_URL
WORDNET = "wordnet"
SUBDIR = {WORDNET: "corpora", TAGGER: "taggers"}
PARTS = ("noun", "verb", "adj", "adv")
WORDNET_FILES = (
    "lexnames",
    "cntlist.rev",
    "index.sense",
    *(f"{kind}.{part}" for part in PARTS for kind in ("index", "data")),
    *(f"{part}.exc" for part in PARTS),
)
NEEDED = {WORDNET: WORDNET_FILES, TAGGER: TAGGER_FILES}
NOTICES = ("LICENSE", "README", "citation.bib")  # kept where they are there
PLACE = "put NLTK's corpora/wordnet.zip and taggers/" + TAGGER + ".zip below a folder"
TIMEOUT = 60.0  # seconds without a byte
LIMIT = 1 << 28  # bytes of a package, and of a file in it: ten times what NLTK's have
INDEX_LIMIT = 1 << 24


def make(out: Path | str, *, mirror: str | None = None, folder: Path | str | None = None) -> None:
    """Fetch both packages, check them, make the table, and put all into `out`: whole or not at all.

    Takes a minute, which is the table's. An earlier `out` is replaced.

    Args:
        mirror: URL of an index.xml in NLTK's form (default: NLTK's). Its packages are looked for at
            the place that it gives and, if that is another host, first beside it, in
            `packages/SUBDIR/NAME.zip`; the index's checksum decides.
        folder: take `corpora/wordnet` and `taggers/averaged_perceptron_tagger_eng`, folders or zip
            files, from here, and fetch nothing.

    Raises:
        UserError: a package cannot be had, is damaged, incomplete, or not what it says.
    """
    out = Path(out)
    with replacing(out) as temporary:
        sources = {}
        for name, subdir in SUBDIR.items():
            target = temporary / subdir / name
            target.mkdir(parents=True)
            if folder is not None:
                sources[name] = _take(Path(folder), name, target)
            else:
                sources[name] = _download(mirror or INDEX, name, target)
            _make_private(temporary)
        corpus = temporary / SUBDIR[WORDNET] / WORDNET
        _check_wordnet(corpus)
        _check_tagger(temporary / SUBDIR[TAGGER] / TAGGER)
        try:
            rows = export(corpus, temporary / "lexicon.tsv.gz")
        except (ValueError, LookupError, AssertionError, OSError, WordNetError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"wordnet: NLTK cannot read it ({reason}); {_again()}") from None
        _probe(TaggedLexicon(temporary))
        write_json(
            temporary / "sources.json",
            {**sources, "lexicon": {"source": f"{rows} rows made of wordnet"}},
        )
        # Without its table the old folder counts as none; then no old file meets a new one.
        (out / "lexicon.tsv.gz").unlink(missing_ok=True)
        for name in SUBDIR.values():
            shutil.rmtree(out / name, ignore_errors=True)


def _again() -> str:
    return "fetch it again, or " + PLACE + " and name it as text.folder"


# ---- from a local folder ---------------------------------------------------------------------


def _take(root: Path, name: str, target: Path) -> dict[str, Any]:
    """Copy one package from an nltk_data folder: its folder, or else its zip."""
    source = root / SUBDIR[name] / name
    archive = source.with_name(name + ".zip")
    if source.is_dir():
        if name == WORDNET:
            copy_corpus(source, target)
        else:
            _copy(source, TAGGER_FILES, target)
        return {"source": str(source), "files": _digests(target)}
    if archive.is_file():
        _unzip(archive, archive.stat().st_size, str(archive), name, target)
        return {"source": str(archive), "sha256": _sha256(archive), "files": _digests(target)}
    raise UserError(f"{archive}: no such file, nor the folder of that name; {PLACE} (text.folder)")


def copy_corpus(source: Path, target: Path) -> Path:
    """Copy a WordNet, its `lexnames` written where it is missing (as in Debian's packages).

    Returns the new folder, which is ours and writable by no one else, as NLTK wants it.
    """
    target.mkdir(parents=True, exist_ok=True)
    given = (source / "lexnames").exists()
    _copy(source, [n for n in WORDNET_FILES if given or n != "lexnames"], target)
    if not given:
        write_lexnames(target / "lexnames")
    _make_private(target)
    return target


def _copy(source: Path, names: Any, target: Path) -> None:
    for name in (*names, *NOTICES):
        try:
            shutil.copyfile(source / name, target / name)  # not the owner, not the mode
        except FileNotFoundError:
            if name not in NOTICES:
                raise UserError(f"{source / name}: no such file; {PLACE} (text.folder)") from None
        except OSError as error:
            raise UserError(f"{source / name}: cannot be read ({error.strerror})") from None


def _unzip(archive: Any, size: int, where: str, name: str, target: Path) -> None:
    """Unpack the files that we know of, whatever else is in the archive."""
    try:
        with zipfile.ZipFile(archive) as package:
            members = set(package.namelist())
            for file in (*NEEDED[name], *NOTICES):
                member = f"{name}/{file}"
                if member in members:
                    if package.getinfo(member).file_size > LIMIT:
                        raise UserError(f"{where}: {member} is larger than {LIMIT} bytes")
                    (target / file).write_bytes(package.read(member))
                elif file not in NOTICES:
                    raise UserError(f"{where}: holds no {member}; {_again()}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{where}: no whole zip ({error}, {size} bytes); {_again()}") from None


def _make_private(folder: Path) -> None:
    """What a group may write, as under umask 002, NLTK 3.10 refuses to read."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


# ---- from an index ---------------------------------------------------------------------------


def _download(index: str, name: str, target: Path) -> dict[str, Any]:
    """Fetch one package by an index, hold it against the index's size and checksum, unpack it."""
    entry = _entry(index, name)
    archive = target.with_name(f"{name}.zip")
    errors = []
    for url in _places(index, name, entry):
        try:
            size = int(entry["size"])
            archive.write_bytes(_get(url, size if 0 < size <= LIMIT else LIMIT))
            _check_archive(archive, url, entry)
        except UserError as error:
            errors.append(error)
        else:
            _unzip(archive, size, url, name, target)
            digest = _sha256(archive)
            archive.unlink()
            return {"source": url, "sha256": digest, "files": _digests(target)}
    raise errors[-1]


def _places(index: str, name: str, entry: dict[str, str]) -> Iterator[str]:
    given = urljoin(index, entry["url"])
    beside = urljoin(index, f"packages/{SUBDIR[name]}/{name}.zip")
    if urlsplit(given).netloc != urlsplit(index).netloc:
        yield beside  # a mirror may be a plain copy, whose index still names NLTK's host
    yield given


def _entry(index: str, name: str) -> dict[str, str]:
    """The package's attributes in the index."""
    body = _get(index, INDEX_LIMIT)
    try:
        packages = ElementTree.fromstring(body).iter("package")
    except ElementTree.ParseError as error:
        raise UserError(f"{index}: no XML ({error}); give text.mirror an index.xml") from None
    for package in packages:
        if package.get("id") == name:
            entry = dict(package.attrib)
            checked = entry.get("sha256_checksum") or entry.get("checksum")
            if not checked or not entry.get("url") or not entry.get("size", "").isdigit():
                raise UserError(
                    f"{index}: {name} has no url, size or checksum; give another text.mirror"
                )
            return entry
    raise UserError(f"{index}: lists no {name}; give text.mirror an index.xml in NLTK's form")


def _get(url: str, limit: int) -> bytes:
    """The body at an http(s) URL, refused when it is longer than `limit` bytes."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url}: no http(s) URL; for files at hand use text.folder")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "taclean"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            body = answer.read(limit + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        reason = " ".join(str(getattr(error, "reason", "") or error).split())
        raise UserError(
            f"{url}: cannot be fetched ({reason}); offline, {PLACE} and name it as text.folder, "
            "or name a mirror's index.xml as text.mirror"
        ) from None
    if len(body) > limit:
        raise UserError(f"{url}: longer than the {limit} bytes that are expected; {_again()}")
    return body


def _check_archive(archive: Path, url: str, entry: dict[str, str]) -> None:
    size, expected = archive.stat().st_size, int(entry["size"])
    if size != expected:
        raise UserError(f"{url}: {size} bytes of {expected} arrived; {_again()}")
    if "sha256_checksum" in entry:
        kind, found, given = "sha256", _sha256(archive), entry["sha256_checksum"]
    else:  # older indexes; against damage, as there is nothing better
        md5 = hashlib.md5(archive.read_bytes(), usedforsecurity=False)
        kind, found, given = "md5", md5.hexdigest(), entry["checksum"]
    if found != given.lower():
        raise UserError(f"{url}: {kind} {found}, but the index says {given}; {_again()}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: _sha256(path) for path in sorted(folder.iterdir())}


# ---- whether it is what it says ----------------------------------------------------------------


def _check_wordnet(corpus: Path) -> None:
    """Every sense of index.sense has its synset, at its byte, and the indexes count as many.

    So a truncated file, or one whose line ends were changed on the way, is found.
    """
    senses = 0
    at: dict[str, set[int]] = {}
    for part in PARTS:
        for entry in (corpus / f"index.{part}").read_bytes().splitlines():
            if not entry.startswith(b" "):
                fields = entry.split()
                if len(fields) < 3 or not fields[2].isdigit():
                    raise UserError(f"wordnet/index.{part}: damaged; {_again()}")
                senses += int(fields[2])
        at[part] = set()
        place = 0
        data = (corpus / f"data.{part}").read_bytes()
        for line in data.splitlines(keepends=True):
            if not line.startswith(b" ") and line[:8] == b"%08d" % place:
                at[part].add(place)
            place += len(line)
        if not data.endswith(b"\n"):
            raise UserError(f"wordnet/data.{part}: truncated; {_again()}")
    lines = (corpus / "index.sense").read_bytes().splitlines()
    if len(lines) != senses or not senses:
        raise UserError(
            f"wordnet/index.sense: {len(lines)} senses, but the indexes count {senses}; {_again()}"
        )
    part_of = {b"1": "noun", b"2": "verb", b"3": "adj", b"4": "adv", b"5": "adj"}
    for line in lines:
        key, _, rest = line.partition(b" ")
        part = part_of.get(key.partition(b"%")[2][:1], "")
        offset = rest.split(b" ", 1)[0]
        if not part or not offset.isdigit() or int(offset) not in at[part]:
            raise UserError(
                f"wordnet/data.{part or 'POS'}: no synset for the sense "
                f"{key.decode(errors='replace')!r} of index.sense; {_again()}"
            )


def _check_tagger(folder: Path) -> None:
    try:
        tagger = read_tagger(folder)
    except ValueError as error:
        raise UserError(f"{TAGGER}: {error}; {_again()}") from None
    # A word that no dictionary has: the weights decide.
    (_, first), (_, second) = tagger.tag(["the", "wug"])
    if first != "DT" or not second.startswith("NN"):
        raise UserError(f"{TAGGER}: calls 'the wug' {first} {second}; {_again()}")


def _probe(lexicon: Lexicon) -> None:
    """Look a few words up, as the sub-captions will."""
    if not lexicon.swaps("dogs", "NNS")[1] or "DT" not in dict(lexicon.tag(["a", "dog"])).values():
        raise UserError(f"wordnet: knows no other animal than dogs; {_again()}")
