"""Each image is decoded once, whatever happens in between; broken ones are listed; nothing half-written is trusted."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from mmpkd.cohort import cache_store
from mmpkd.cohort.cache import cache_images
from mmpkd.cohort.cache_index import open_for_reading
from mmpkd.cohort.images import decode_fitted
from mmpkd.errors import InputError
from mmpkd.progress import Progress

LONG_AGO_NS = 1_600_000_000 * 10**9


def settle(path):
    """Make a file look as if nobody had touched it for years."""
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


def save(path, seed, shape=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    settle(path)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "cohort"
    for i in range(8):
        save(folder / f"{i}.png", seed=i, shape=(40 + i, 30))
    return folder


@pytest.fixture
def fill(tmp_path, root):
    def cached(paths=tuple(f"{i}.png" for i in range(8)), **changed):
        given = {"size_px": 16, "channels": 1, "fit": "pad", "cache_dir": tmp_path / "cache", "workers": 1}
        return cache_images(list(paths), root, **(given | changed))

    return cached


@pytest.fixture
def decoded(monkeypatch):
    """The images decoded in this process, as they are decoded."""
    calls = []

    def counted(data, *arguments):
        calls.append(len(data))
        return decode_fitted(data, *arguments)

    monkeypatch.setattr(cache_store, "decode_fitted", counted)
    return calls


def expected(root, name, size_px=16, channels=1, fit="pad"):
    return decode_fitted((root / name).read_bytes(), size_px, channels, fit).pixels


def assert_holds(cached, root, names, **how):
    images = cached.image_set()
    for position, name in enumerate(names):
        np.testing.assert_array_equal(images.batch(np.array([position]))[0], expected(root, name, **how), err_msg=name)


def test_every_image_stands_in_its_own_row(fill, root):
    cached = fill()
    assert_holds(cached, root, [f"{i}.png" for i in range(8)])
    np.testing.assert_array_equal(cached.sizes_px, [(40 + i, 30) for i in range(8)])
    assert cached.kept.all()
    assert cached.problems == []
    assert isinstance(cached.pixels, np.memmap)
    assert not cached.pixels.flags.writeable


def test_a_second_run_decodes_nothing_and_reads_no_file(fill, root, decoded, monkeypatch):
    first = fill()
    assert len(decoded) == 8
    monkeypatch.setattr(cache_store, "read_bytes", lambda path: pytest.fail(f"{path} was read again"))
    second = fill()
    assert len(decoded) == 8
    np.testing.assert_array_equal(second.rows, first.rows)
    np.testing.assert_array_equal(second.digests, first.digests)
    assert_holds(second, root, [f"{i}.png" for i in range(8)])


def test_new_images_are_added_and_old_rows_stay(fill, root, decoded):
    first = fill([f"{i}.png" for i in range(5)])
    rows = first.rows.copy()
    second = fill()
    assert len(decoded) == 8
    np.testing.assert_array_equal(second.rows[:5], rows)
    assert_holds(second, root, [f"{i}.png" for i in range(8)])
    assert_holds(first, root, [f"{i}.png" for i in range(5)])  # a reader of the earlier state is not disturbed


def test_another_order_or_a_part_of_the_paths_is_no_new_work(fill, root, decoded):
    fill()
    assert_holds(fill(["6.png", "1.png"]), root, ["6.png", "1.png"])
    assert len(decoded) == 8


def test_identical_files_share_a_row(fill, root, decoded):
    (root / "copy.png").write_bytes((root / "3.png").read_bytes())
    cached = fill(["3.png", "copy.png", "3.png", "4.png"])
    assert len(decoded) == 2
    assert len(set(cached.rows[:3])) == 1
    assert cached.digests[0] == cached.digests[1] != cached.digests[3]
    assert_holds(cached, root, ["3.png", "copy.png", "3.png", "4.png"])


def test_a_moved_or_touched_file_is_recognised_by_its_content(fill, root, decoded):
    fill()
    (root / "sub").mkdir()
    (root / "0.png").rename(root / "sub" / "moved.png")
    os.utime(root / "1.png", ns=(LONG_AGO_NS, LONG_AGO_NS + 10**9))
    assert_holds(fill(["sub/moved.png", "1.png"]), root, ["sub/moved.png", "1.png"])
    assert len(decoded) == 8


def test_changed_content_is_decoded_again(fill, root, decoded):
    fill()
    save(root / "2.png", seed=99)
    os.utime(root / "2.png", ns=(LONG_AGO_NS, LONG_AGO_NS + 1))
    assert_holds(fill(), root, [f"{i}.png" for i in range(8)])
    assert len(decoded) == 9


def test_a_file_changed_a_moment_ago_is_not_trusted_by_its_stamp(fill, root):
    """Written twice within one tick of the clock, a file keeps size and time: only its content tells."""
    old, new = np.zeros((4, 4), np.uint8), np.full((4, 4), 200, np.uint8)
    path = root / "young.pgm"
    Image.fromarray(old).save(path)
    stamp = path.stat().st_mtime_ns
    assert fill(["young.pgm"]).pixels.max() == 0
    Image.fromarray(new).save(path)
    os.utime(path, ns=(stamp, stamp))
    cached = fill(["young.pgm"])
    assert cached.image_set().batch(np.array([0])).max() == 200


def test_sizes_channels_and_fits_do_not_mix(fill, root):
    for how in (
        {"size_px": 16},
        {"size_px": 24},
        {"channels": 3},
        {"fit": "crop"},
        {"fit": "stretch"},
        {"size_px": 16},
    ):
        assert_holds(fill(**how), root, [f"{i}.png" for i in range(8)], **how)


def test_no_path_is_kept_in_the_cache(fill, root, tmp_path):
    save(root / "secret-patient-name.png", 1)
    fill(["secret-patient-name.png"])
    for file in (tmp_path / "cache").rglob("*"):
        assert b"secret-patient" not in file.read_bytes()


def test_no_images_are_no_problem(fill):
    cached = fill([])
    assert cached.pixels.shape == (0, 1, 16, 16)
    assert len(cached.image_set()) == 0


# --- broken images -----------------------------------------------------------------------------------------------


@pytest.fixture
def with_broken(root):
    (root / "empty.png").touch()
    (root / "cut.png").write_bytes((root / "0.png").read_bytes()[:200])
    settle(root / "cut.png")
    (root / "folder.png").mkdir()
    return ["0.png", "empty.png", "1.png", "cut.png", "folder.png", "absent.png", "2.png"]


def test_broken_images_are_listed_left_out_and_counted(fill, root, with_broken):
    cached = fill(with_broken)
    np.testing.assert_array_equal(cached.kept, [True, False, True, False, False, False, True])
    assert cached.problems == [
        "empty.png: the image is empty (0 bytes); it is left out.",
        "cut.png: the image cannot be decoded (it is cut off); it is left out.",
        "folder.png: the image is a folder, not a file; it is left out.",
        "absent.png: the image does not exist; it is left out.",
    ]
    assert_holds_kept = cached.image_set().take(cached.kept)
    np.testing.assert_array_equal(assert_holds_kept.batch(np.array([2]))[0], expected(root, "2.png"))


def test_a_second_run_tells_the_same_without_decoding(fill, with_broken, decoded):
    first = fill(with_broken)
    before = len(decoded)
    assert fill(with_broken).problems == first.problems
    assert len(decoded) == before


def test_a_mended_image_comes_back(fill, root, with_broken):
    fill(with_broken)
    for seed, name in enumerate(["empty.png", "cut.png", "absent.png"]):
        save(root / name, seed + 50)
    cached = fill(with_broken)
    assert cached.problems == ["folder.png: the image is a folder, not a file; it is left out."]
    assert_holds(cached, root, with_broken[:4])


def test_a_blank_path_is_told_by_its_place(fill):
    assert fill(["0.png", ""]).problems == ["image 2: the image has no path; it is left out."]


def test_too_many_broken_images_end_the_run(fill):
    paths = [f"{i}.png" for i in range(20)]  # 12 of them absent
    with pytest.raises(InputError) as caught:
        fill(paths, max_broken_share=0.1)
    assert caught.value.problems[0].startswith(
        "12 of 20 images are broken or missing, more than max_broken_share = 0.1"
    )
    assert len(caught.value.problems) == 13
    assert fill(paths, max_broken_share=0.6).kept.sum() == 8


def test_a_handful_is_never_too_many_but_all_are(fill):
    assert fill(["0.png", "absent.png", "gone.png"]).kept.sum() == 1
    with pytest.raises(InputError, match="1 of 1 images"):
        fill(["absent.png"])
    assert not fill(["absent.png"], max_broken_share=1).kept.any()  # `check` wants to see them all


def test_a_flood_of_broken_images_is_cut_short(fill):
    with pytest.raises(InputError) as caught:
        fill([f"absent-{i}.png" for i in range(500)])
    assert len(caught.value.problems) == 22
    assert caught.value.problems[-1] == "... and 480 more like it."


@pytest.mark.parametrize("path", ["../outside.png", "sub/../../outside.png", "/etc/hostname"])
def test_a_path_may_not_leave_the_root(fill, root, path):
    save(root.parent / "outside.png", 0)
    with pytest.raises(InputError, match="leaves the cohort's folder"):
        fill(["0.png", path])


def test_unknown_channels_and_fit_are_refused(fill):
    with pytest.raises(InputError, match="channels is 2"):
        fill(channels=2)
    with pytest.raises(InputError, match="did you mean 'pad'"):
        fill(fit="pads")


# --- trouble with the folder -------------------------------------------------------------------------------------


def test_a_file_in_the_folders_place_is_one_sentence(fill, tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(InputError, match="image cache cannot be written") as caught:
        fill()
    assert len(caught.value.problems) == 1


def test_a_full_disk_is_one_sentence_and_what_was_done_is_kept(fill, root, monkeypatch, decoded):
    monkeypatch.setattr(cache_store, "_CHUNK_IMAGES", 2)
    write = cache_store.Store.write

    def full(store, rows):
        if max(rows) >= 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(store, rows)

    monkeypatch.setattr(cache_store.Store, "write", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); free some space"):
        fill()
    monkeypatch.setattr(cache_store.Store, "write", write)
    decoded.clear()
    assert_holds(fill(), root, [f"{i}.png" for i in range(8)])
    assert len(decoded) == 4  # the first two chunks were kept


def test_a_read_only_folder_is_one_sentence(fill, monkeypatch):
    def refuse(*_arguments, **_options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
        fill()


def test_a_complete_cache_needs_no_writing(fill, root, with_broken, monkeypatch):
    """A group may share a filled cache on a disk that its members cannot write."""
    fill(with_broken)

    def refuse(*_arguments, **_options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert_holds(fill(with_broken), root, ["0.png"])


def test_deleted_or_shortened_pixels_are_made_again(fill, root, tmp_path):
    fill()
    (pixels,) = (tmp_path / "cache").glob("*.u8")
    pixels.unlink()
    assert_holds(fill(), root, [f"{i}.png" for i in range(8)])
    os.truncate(pixels, 5 * 256 + 7)
    assert_holds(fill(), root, [f"{i}.png" for i in range(8)])


def test_a_damaged_index_is_one_sentence(fill, tmp_path):
    fill()
    (tmp_path / "cache" / "index.sqlite").write_bytes(b"nonsense" * 1000)
    with pytest.raises(InputError, match=r"cache is damaged.*delete the folder"):
        fill()


def test_a_waiting_run_says_so(fill, root, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(Progress, "say", lambda _self, line: said.append(line))
    acquire = FileLock.acquire
    (tmp_path / "cache").mkdir()
    held = FileLock(tmp_path / "cache" / ".lock", is_singleton=False)
    acquire(held)

    def give_way(lock, timeout=-1, **options):
        if timeout != 0:
            held.release()
        return acquire(lock, timeout=timeout, **options)

    monkeypatch.setattr(FileLock, "acquire", give_way)
    assert_holds(fill(), root, ["0.png"])
    assert len(said) == 1
    assert "another run is filling the image cache" in said[0]


# --- worker processes --------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path):
    """Enough bytes that workers are worth their start: 300 files, one of them broken, two alike."""
    folder = tmp_path / "many"
    for i in range(300):
        save(folder / f"{i}.png", seed=i, shape=(256, 256))
    (folder / "7.png").write_bytes((folder / "7.png").read_bytes()[:5000])
    (folder / "299.png").write_bytes((folder / "0.png").read_bytes())
    return folder


def test_workers_give_the_rows_that_one_process_gives(many, tmp_path):
    names = [f"{i}.png" for i in range(300)]
    together = cache_images(names, many, 16, 1, "pad", tmp_path / "a", workers=2)
    alone = cache_images(names, many, 16, 1, "pad", tmp_path / "b", workers=1)
    np.testing.assert_array_equal(together.kept, alone.kept)
    kept = np.flatnonzero(alone.kept)
    assert len(kept) == 299
    np.testing.assert_array_equal(together.image_set().batch(kept), alone.image_set().batch(kept))
    np.testing.assert_array_equal(together.digests, alone.digests)
    assert (
        together.problems == alone.problems == ["7.png: the image cannot be decoded (it is cut off); it is left out."]
    )


KILLED = """
import sys
from pathlib import Path
from mmpkd.cohort import cache_store
from mmpkd.cohort.cache import cache_images
cache_store._CHUNK_IMAGES = 8
if __name__ == "__main__":
    names = [f"{i}.png" for i in range(300)]
    cache_images(names, Path(sys.argv[1]), 16, 1, "pad", Path(sys.argv[2]), workers=int(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_where_it_stopped(many, tmp_path, workers, decoded):
    names = [f"{i}.png" for i in range(300)]
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    cache = tmp_path / "cache"
    for more_rows in (8, 60):
        least_rows = _rows_known(cache) + more_rows
        with subprocess.Popen([sys.executable, script, many, cache, str(workers)], start_new_session=True) as run:
            deadline = time.monotonic() + 60
            while _rows_known(cache) < least_rows:
                assert run.poll() is None, "it ended before it was killed"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
        assert _children_gone(run.pid)
    cached = cache_images(names, many, 16, 1, "pad", cache, workers=1)
    assert 0 < len(decoded) < 290  # some of the work was kept
    whole = cache_images(names, many, 16, 1, "pad", tmp_path / "fresh", workers=1)
    kept = np.flatnonzero(whole.kept)
    np.testing.assert_array_equal(np.flatnonzero(cached.kept), kept)
    np.testing.assert_array_equal(cached.image_set().batch(kept), whole.image_set().batch(kept))


def _rows_known(cache):
    store = cache_store.Store(cache, 16, 1, "pad")
    with open_for_reading(store.index) as index:
        return 0 if index is None else index.next_row(store.key)


def _children_gone(session, patience_s=10.0):
    """Whether the session that a killed run led is empty: its workers do not linger."""
    psutil = pytest.importorskip("psutil")
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        alive = [p.pid for p in psutil.process_iter() if _session_of(p.pid) == session]
        if not alive:
            return True
        time.sleep(0.05)
    return False


def _session_of(pid):
    try:
        return os.getsid(pid)
    except OSError:
        return None


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(many, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    runs = [subprocess.Popen([sys.executable, script, many, tmp_path / "cache", "1"]) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    names = [f"{i}.png" for i in range(300)]
    cached = cache_images(names, many, 16, 1, "pad", tmp_path / "cache", workers=1)
    assert len(cached.pixels) <= 300
    assert_holds(cached, many, names[:7])


def test_workers_never_load_torch():
    code = "import sys, mmpkd.cohort.cache_store; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
