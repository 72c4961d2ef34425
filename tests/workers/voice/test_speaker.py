"""Texts become speech, in processes that may die, hang and be stopped, and never take ours with them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.errors import ModelUnavailable, Unavailable, Unusable
from workers.voice import speaker as module
from workers.voice import speaker_process, speech
from workers.voice.ports import Samples, Speaker
from workers.voice.speaker import ChildSpeaker, load_speaker

pytest.importorskip("espeakng_loader")

HELLO = "Hello there, how are you today?"
LONG = "The quick brown fox jumps over the lazy dog. " * 100  # more than may wait for its listener
ALONE = [sys.executable, "-I", str(Path(speaker_process.__file__).with_name("speaker_child.py"))]
Make = Callable[..., ChildSpeaker]


@pytest.fixture(scope="module")
def espeak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildSpeaker]:
    speaker = load_speaker(tmp_path_factory.mktemp("voice"), "espeak", 1)
    yield speaker
    speaker.close()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A speaker whose child is a program of the test's: it is told `frame(kind, **said)` and `receive()`."""
    made: list[ChildSpeaker] = []
    real = Path(speaker_process.__file__).with_name("speaker_child.py").read_text()

    def begin(
        program: str, *, ready: str = "pipes.tell(b'r', sample_rate=8000, voices=['only'])", **given: object
    ) -> ChildSpeaker:
        child = tmp_path / "child.py"
        body = f"pipes = Pipes()\n{ready}\nwhile True:\n    asked = pipes.receive()\n    {program}\n"
        child.write_text(real.partition("def main() -> None:")[0] + body)
        monkeypatch.setattr(speaker_process, "_CHILD", child)
        made.append(ChildSpeaker("stand-in", [], **given))  # type: ignore[arg-type]
        return made[-1]

    yield begin
    for speaker in made:
        speaker.close()


def say(speaker: Speaker, text: str, voice: str | None = None, speed: float = 1.0) -> Samples:
    return np.concatenate([np.zeros(0, np.int16), *speaker.speak(text, voice, speed)])


def seconds(samples: Samples, rate: int = 22_050) -> float:
    return len(samples) / rate


# --- what is heard


def test_a_sentence_is_speech(espeak: ChildSpeaker) -> None:
    pieces = list(espeak.speak(HELLO))
    assert (espeak.name, espeak.sample_rate) == ("espeak-ng", 22_050)
    assert len(pieces) > 5, "in pieces, as they are ready"
    assert {(piece.dtype.str, piece.ndim) for piece in pieces} == {("<i2", 1)}
    samples = np.concatenate(pieces)
    assert 1.0 < seconds(samples) < 4.0
    assert 2_000 < np.abs(samples.astype(int)).max() <= 32_768


def test_voices_sound_different_and_the_first_is_the_usual_one(espeak: ChildSpeaker) -> None:
    assert espeak.voices[:4] == ("en-us", "en-us+f3", "en-us+m3", "en-gb")
    assert {"de", "fr-fr", "cmn", "ja", "ar"} < set(espeak.voices)
    assert len(set(espeak.voices)) == len(espeak.voices) > 100
    usual, named, other = (say(espeak, HELLO, voice) for voice in (None, "en-us", "en-us+f3"))
    assert abs(len(usual) - len(named)) < 0.05 * len(named)
    assert pitch(other) > 1.3 * pitch(named)


def pitch(samples: Samples) -> float:
    """Of the loudest quarter of a second, in Hz."""
    window = 5_512
    loudest = max(
        range(0, len(samples) - window, 1_000), key=lambda at: int(np.abs(samples[at : at + window].astype(int)).sum())
    )
    part = samples[loudest : loudest + window].astype(float)
    likeness = np.correlate(part, part, "full")[window - 1 :]
    return 22_050 / (60 + int(likeness[60:400].argmax()))


def test_every_voice_speaks(espeak: ChildSpeaker) -> None:
    silent = [voice for voice in espeak.voices if seconds(say(espeak, "One, two, three.", voice)) < 0.3]
    assert silent == []


def test_what_was_said_before_changes_nothing(espeak: ChildSpeaker) -> None:
    before = len(say(espeak, HELLO))
    say(espeak, HELLO, "en-gb+f4", 2.0)
    assert abs(len(say(espeak, HELLO)) - before) < 0.05 * before


def test_speed(espeak: ChildSpeaker) -> None:
    text = HELLO * 4
    slow, usual, fast = (len(say(espeak, text, None, speed)) for speed in (0.5, 1.0, 2.0))
    assert 1.6 < slow / usual < 2.4
    assert 1.6 < usual / fast < 2.4


@pytest.mark.parametrize("speed", [0.49, 2.01, -1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none(espeak: ChildSpeaker, speed: float) -> None:
    with pytest.raises(Unusable, match=r"between 0\.5 and 2"):
        espeak.speak(HELLO, speed=speed)


@pytest.mark.parametrize("voice", ["", "xx", "en-us+../../etc/passwd", "en-us+f1\0", "\ud800", "en-us " * 100])
def test_a_voice_it_has_not(espeak: ChildSpeaker, voice: str) -> None:
    with pytest.raises(Unusable, match="has no voice"):
        espeak.speak(HELLO, voice)


# --- whatever is said


@pytest.mark.parametrize("text", ["", " \n ", "\0\x01\x02", "\ud800", "…", "😀🇫🇷👩‍👩‍👧"])
def test_what_has_no_words_is_harmless(espeak: ChildSpeaker, text: str) -> None:
    assert seconds(say(espeak, text)) < 12


def test_markup_and_commands_are_read_not_obeyed(espeak: ChildSpeaker) -> None:
    """SSML, phonemes in brackets, and espeak's own commands behind a control-A."""
    plain = len(say(espeak, "break time is over"))
    for text in (
        '<break time="30s"/> is over',
        "<audio src='/etc/passwd'/> is over",
        "\x0199s\x01300V is over",
        "[[h@'loU]] is over",
    ):
        assert len(say(espeak, text)) < 4 * plain
    before = len(say(espeak, HELLO))
    assert abs(len(say(espeak, "\x01+20S" + HELLO)) - before) < before, "no command changed the rate"


def test_a_long_text_is_spoken_and_a_longer_one_refused(espeak: ChildSpeaker) -> None:
    assert len(LONG) < module.MAX_CHARS
    assert seconds(say(espeak, LONG)) > speech.AHEAD_S
    with pytest.raises(Unusable, match="at most 10,000 characters"):
        espeak.speak("a" * 10_001)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80), st.sampled_from(["en-us", "de", "ja", "ar", "hi", "cmn", "en-gb+f4"]))
def test_no_text_harms_the_process(espeak: ChildSpeaker, text: str, voice: str) -> None:
    pids = espeak.pids
    with closing(espeak.speak(text, voice)) as spoken:
        for _ in zip(range(50), spoken, strict=False):
            pass
    assert espeak.pids == pids


# --- turns


def test_callers_take_turns_and_each_hears_its_own(espeak: ChildSpeaker) -> None:
    texts = ["One.", "One, two, three, four.", "One, two, three, four, five, six, seven, eight, nine, ten."]
    alone = [len(say(espeak, text)) for text in texts]
    with ThreadPoolExecutor(6) as pool:
        heard = [len(samples) for samples in pool.map(lambda text: say(espeak, text), texts * 4)]
    for length, usual in zip(heard, alone * 4, strict=True):
        assert abs(length - usual) < 0.15 * usual


def test_a_listener_who_waits_keeps_nobody_waiting(espeak: ChildSpeaker) -> None:
    """A sentence is spoken whether or not it is heard at once."""
    with closing(espeak.speak(HELLO)) as slow:
        assert next(slow).size
        assert seconds(say(espeak, HELLO)) > 1
        assert seconds(np.concatenate(list(slow))) > 1


def test_several_processes_speak_at_once(make: Make) -> None:
    """Each waits for the other: with one they would wait for ever."""
    speaker = make("pipes.send(b'p', b'ab'); pipes.receive(); pipes.tell(b'e', problem=None)", processes=2)
    first, second = speaker.speak("a"), speaker.speak("b")
    assert next(first).tobytes() == next(second).tobytes() == b"ab"
    assert len(set(speaker.pids)) == 2
    first.close()
    second.close()


def test_closed_early_the_next_is_not_delayed(espeak: ChildSpeaker) -> None:
    pids = espeak.pids
    for _ in range(5):
        spoken = espeak.speak(LONG)
        next(spoken)
        spoken.close()
        assert list(spoken) == []
    began = time.monotonic()
    assert next(espeak.speak(HELLO)).size
    assert time.monotonic() - began < 2
    assert espeak.pids == pids, "it was stopped, not started again"


def test_what_nobody_holds_is_stopped(espeak: ChildSpeaker) -> None:
    for _ in range(3):
        espeak.speak(LONG)  # dropped at once
    assert seconds(say(espeak, HELLO)) > 1


def test_one_that_does_not_stop_is_ended(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker_process, "STOP_S", 0.2)
    speaker = make(
        "pipes.send(b'p', b'ab'); asked['text'] == 'hang' and signal.pause(); pipes.tell(b'e', problem=None)"
    )
    (pid,) = speaker.pids
    with closing(speaker.speak("hang")) as stuck:
        next(stuck)
    assert len(list(speaker.speak("x"))) == 1
    assert speaker.pids != [pid]


# --- deaths


def test_killed_in_the_middle_it_goes_on(espeak: ChildSpeaker) -> None:
    """More is to come than may wait, so the process is there to be killed when the first piece is heard."""
    whole = len(say(espeak, LONG))
    (pid,) = espeak.pids
    spoken = espeak.speak(LONG)
    heard = [next(spoken)]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    heard += spoken
    assert abs(sum(map(len, heard)) - whole) < 0.02 * whole, "no more is said twice than the blink of an eye"
    assert espeak.pids not in ([pid], [None])


def test_killed_while_idle_nobody_notices(espeak: ChildSpeaker) -> None:
    (pid,) = espeak.pids
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert seconds(say(espeak, HELLO)) > 1


def test_dying_twice_of_a_text_is_told_and_the_next_is_spoken(make: Make) -> None:
    speaker = make("asked['text'] == 'poison' and os._exit(1); pipes.send(b'p', b'ab'); pipes.tell(b'e', problem=None)")
    with pytest.raises(Unavailable, match="ended twice"):
        list(speaker.speak("poison"))
    assert len(list(speaker.speak("x"))) == 1


def test_what_was_heard_of_a_first_try_is_not_heard_again(make: Make, tmp_path: Path) -> None:
    mark = tmp_path / "died"
    once = f"os.path.exists({str(mark)!r}) or (open({str(mark)!r}, 'w').close(), os._exit(1))"
    program = f"pipes.send(b'p', b'abcd'); {once}; pipes.send(b'p', b'ef'); pipes.tell(b'e', problem=None)"
    speaker = make(program)
    assert b"".join(piece.tobytes() for piece in speaker.speak("x")) == b"abcdef"


@pytest.mark.parametrize(
    "program", ["signal.pause()", "os.write(1, b'?' * 99)", "pipes.send(b'e', b'{')", "pipes.send(b'p', b'odd')"]
)
def test_silence_and_rubbish_are_deaths(make: Make, program: str) -> None:
    with pytest.raises(Unavailable, match="ended twice"):
        list(make(program, silence_s=0.2).speak("x"))


def test_a_text_that_cannot_be_said_is_told_without_a_restart(make: Make) -> None:
    speaker = make("pipes.tell(b'e', problem='TypeError')")
    pids = speaker.pids
    with pytest.raises(Unavailable, match="cannot say this: TypeError"):
        list(speaker.speak("x"))
    assert speaker.pids == pids


@pytest.mark.parametrize(
    "ready",
    ["raise SystemExit", "pipes.tell(b'e')", "pipes.tell(b'r', voices=[])", "os.write(1, b'Hello!')\nraise SystemExit"],
)
def test_one_that_cannot_start_is_told(make: Make, ready: str) -> None:
    with pytest.raises(ModelUnavailable, match="cannot be started"):
        make("pass", ready=ready)


# --- ends


def test_closing_ends_processes_and_texts(make: Make) -> None:
    speaker = make("pipes.send(b'p', b'ab'); signal.pause()", processes=2)
    children = [psutil.Process(pid) for pid in speaker.pids]
    spoken = [speaker.speak("x") for _ in range(3)]
    next(spoken[0])
    speaker.close()
    speaker.close()
    assert not any(child.is_running() for child in children)
    for one in [*spoken, speaker.speak("x")]:
        with pytest.raises(Unavailable, match="was closed"):
            list(one)


def test_it_ends_with_its_parent_whatever_ended_that() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from workers.voice.speaker import *\n"
        "speaker = load_speaker(Path('/'), 'espeak', 2); spoken = speaker.speak('word ' * 2000); next(spoken)\n"
        "print(*speaker.pids, flush=True); sys.stdin.read()"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert (len(gone), alive) == (2, [])


def test_ctrl_c_of_the_terminal_is_for_the_parent() -> None:
    with subprocess.Popen([*ALONE, "espeak"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"r"
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=10)
    assert child.returncode == 0


def test_the_child_has_none_of_our_secrets(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    speaker = make(
        "pipes.send(b'p', '   '.join(sorted(os.environ)).encode().ljust(64)[:64]); pipes.tell(b'e', problem=None)"
    )
    (told,) = speaker.speak("x")
    assert told.tobytes().decode().split() == ["LC_ALL", "PATH"]


def test_our_process_loads_none_of_it() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from workers.voice.speaker import *\n"
        "speaker = load_speaker(Path('/')); list(speaker.speak('Hello.')); speaker.close()\n"
        "named = ('espeakng_loader', 'piper', 'kokoro_onnx', 'onnxruntime', 'torch')\n"
        "print([name for name in named if name in sys.modules],\n"
        "      'espeak' in Path('/proc/self/maps').read_text())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parents[3])], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] False"


# --- which one


def test_a_long_path_to_the_data_is_no_trap(tmp_path: Path) -> None:
    import espeakng_loader  # its own lines are no GPL code; the library is not loaded

    folder = tmp_path.joinpath(*["a-name-of-thirty-characters-30"] * 8)
    folder.mkdir(parents=True)
    shutil.copytree(espeakng_loader.get_data_path(), folder / "espeak-ng-data")
    (folder / "espeak-ng-data" / "lang" / "gmw" / "house").write_text("name House\nlanguage x-house\n")
    with closing(ChildSpeaker("espeak-ng", ["espeak", str(folder / "espeak-ng-data")])) as speaker:
        assert "x-house" in speaker.voices, "this data and no other"
    with pytest.raises(ModelUnavailable):
        ChildSpeaker("espeak-ng", ["espeak", str(tmp_path / "nothing" / "espeak-ng-data")])


def test_without_weights_espeak_speaks_and_what_was_chosen_is_told(tmp_path: Path) -> None:
    with closing(load_speaker(tmp_path / "none", "auto", 1)) as speaker:
        assert speaker.name == "espeak-ng"
    with pytest.raises(ModelUnavailable, match="models pull voice:speaker"):
        load_speaker(tmp_path, "piper", 1)
    with pytest.raises(ModelUnavailable, match="no weights of a Kokoro voice"):
        load_speaker(tmp_path, "kokoro", 1)


def test_a_package_that_is_not_installed_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ModelUnavailable, match=r"pip install espeakng-loader \(GPL\)"):
        load_speaker(tmp_path)


def test_weights_that_are_broken_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("piper")
    (tmp_path / "voice.onnx").write_bytes(b"no model")
    (tmp_path / "voice.onnx.json").write_text("{}")
    with closing(load_speaker(tmp_path)) as speaker:
        assert speaker.name == "espeak-ng"
    assert "piper/voice cannot be started" in caplog.text
    with pytest.raises(ModelUnavailable, match="piper/voice cannot be started"):
        load_speaker(tmp_path, "piper")
