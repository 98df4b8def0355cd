"""What README, docs/ and the result pages say: commands, files, modules, fields and links exist.

Every command of the pages is parsed by the program itself: flags, config words and config fields.
Those of README and docs are run, too, in their cheapest form: a training is checked as main checks
it before it begins, other commands work on small files. NOT_RUN and OTHERS have the rest, with the
reason why not. Nothing is installed.
"""

import importlib.util
import itertools
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags
from PIL import Image

from configs import default
from srcnn_jax import train, weights

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "experiments/results"
KUBERNETES = ROOT / "docs/kubernetes.yaml"
PAGES = [
    README,
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(RESULTS.rglob("*.md")),
    ROOT / "srcnn_jax/pretrained/README.md",
]
MOST_LINES = 180  # of README

OTHERS = {  # why a command is not run, by how it begins
    "python3 -m venv": "CI does it in a clean checkout, where it takes minutes",
    ".venv/bin/pip install": "CI does it in a clean checkout, where it takes minutes",
    "pip install": "an installation; the files that it names must exist",
    ".venv/bin/python -m pytest": "it is what runs this test",
    "python -m pytest": "it is a test of this suite; the file and the name must exist",
    "sbatch": "a SLURM cluster",
    "kubectl": "a Kubernetes cluster",
    "gcloud": "a TPU pod",
    "srun": "a SLURM cluster",
    "tensorboard": "a server of another project, for people who watch",
    "optuna-dashboard": "a server of another project, for people who watch",
    "srcnn-upscale": "the same as python -m srcnn_jax.upscale, which is parsed",
}
NOT_RUN = {  # why a command of this project is only parsed, by a pattern of its words
    r"experiments\.paper\.|experiments\.bench": "it trains or measures for minutes to hours",
    r"experiments\.networks": "it trains for an hour; tests/experiments/networks_test.py has it",
    r"experiments\.report": "it shows finished runs; tests/experiments/report has it",
    r"experiments\.sweep(?!.*--dry_run)": "it trains for an hour; tests/experiments/sweep has it",
    r"--mode=score": "it needs the outputs of another program; tests/evaluate_test.py has it",
    r"DIR/best\.py": "a sweep writes this file; tests/experiments/sweep has it",
    r"--slurm": "a SLURM cluster",
}
NOT_OURS = {  # flags in a sentence that other programs have
    "--ntasks-per-node": "sbatch",
    "--gpus-per-node": "sbatch",
}
# Words in capitals stand for what the reader has: FILE, WORKDIR, configs/default.py:WORDS.
PLACEHOLDER = re.compile(r"[A-Z_]{2,}|path/to/")

SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PROGRAM = re.compile(r"(?:\.venv/bin/)?python -m ((?:srcnn_jax|experiments)[\w.]*)")
CONFIG = re.compile(r"\bconfigs/(\w+)\.py:([\w,]+)")
OWN_FILE = re.compile(
    r"(?:srcnn_jax|experiments|configs|docs|tests)/[\w/.-]*|requirements[\w-]*\.txt"
)
OWN_MODULE = re.compile(r"(?:srcnn_jax|experiments)(?:\.\w+)+")
FIELD = re.compile(r"(?:model|data|train|optimizer|eval)\.[a-z_]+(?:\.[a-z_0-9]+)*")
OUTPUTS = ("-o", "--output", "--workdir")  # what follows is made by the command


class Command(NamedTuple):
    """A command as a page has it, with the page, for messages."""

    page: str
    text: str


def name(page: pathlib.Path) -> str:
    return str(page.relative_to(ROOT))


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text)


def spans(text: str) -> list[str]:
    """What stands between single backticks, on one line."""
    return [" ".join(span.split()) for span in SPAN.findall(prose(text))]


def split(block: str) -> list[str]:
    """The commands of a block of bash: continued lines are joined, comments are left out."""
    commands, rest = [], ""
    for line in block.splitlines():
        rest += line.removesuffix("\\") if line.endswith("\\") else line + "\n"
        if line.endswith("\\"):
            continue
        try:
            words = shlex.split(rest, comments=True)
        except ValueError:  # a quotation goes on
            continue
        if words:
            commands += re.split(r" && (?=\S)", rest.strip()) if "'" not in rest else [rest.strip()]
        rest = ""
    assert not rest.strip(), f"a quotation does not end: {rest}"
    return commands


def commands() -> list[Command]:
    """Every command of the pages, in blocks and in sentences."""
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = [block for language, block in FENCE.findall(text) if language == "bash"]
        inline = [span for span in spans(text) if re.match(r"(python|pip|optuna-\w+) ", span)]
        every = [command for block in blocks for command in split(block)] + inline
        found += [Command(name(page), command) for command in every]
    # The pods' command is folded text in the file, and ends where the next key begins.
    pods = re.search(r"exec (python -m .*?)\n +resources:", KUBERNETES.read_text(), re.DOTALL)
    return [*found, Command(name(KUBERNETES), " ".join(pods[1].split()))]


def own(command: Command) -> list[tuple[str, list[str]]]:
    """(module, arguments) of each program of this project that a command starts."""
    found = []
    for match in PROGRAM.finditer(command.text):
        rest = command.text[match.end() :]
        if command.text.startswith(("sbatch", "gcloud")):  # a command in a quotation
            rest = re.split(r"[;']", rest.replace("\\\n", " "))[0]
        rest = re.split(r" [<>] ", rest)[0]  # files that the shell opens
        found.append((match[1], shlex.split(rest, comments=True)))
    return found


COMMANDS = commands()
OWN = [(command, *each) for command in COMMANDS for each in own(command)]
MODULES = sorted({module for _, module, _ in OWN})

# Runs modules as programs up to the point where their command line is read, each in a fork of one
# process that has imported what all of them need.
DRIVER = """
import argparse, json, os, runpy, sys
import ml_collections, numpy
from absl import app
from ml_collections import config_flags

run = app.run

def parsed(read):
    def parse(self, *arguments, **options):
        read(self, *arguments, **options)
        os._exit(0)
    return parse

def run_parsed(main, *arguments, **options):
    run(lambda argv: os._exit(0), *arguments, **options)

parser = argparse.ArgumentParser
parser.parse_args = parsed(parser.parse_args)
parser.parse_intermixed_args = parsed(parser.parse_intermixed_args)
app.run = run_parsed
answers = []
for module, arguments in json.load(sys.stdin):
    read_end, write_end = os.pipe()
    if (child := os.fork()) == 0:
        os.dup2(write_end, 1), os.dup2(write_end, 2), os.close(read_end)
        sys.argv = [module, *arguments]
        code = 99
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException as error:
            print(repr(error))
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end) as output:
        text = output.read()
    answers.append((os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text))
json.dump(answers, sys.stdout)
"""


def parse(calls: list[tuple[str, list[str]]]) -> list[tuple[int, str]]:
    """Exit code and output of modules that stop once they have read their command line."""
    different = sorted({json.dumps(call) for call in calls})  # many pages have the same command
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=f"[{','.join(different)}]",
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = dict(zip(different, json.loads(done.stdout), strict=True))
    return [answers[json.dumps(call)] for call in calls]


def fail_with(mistakes: list[str]) -> None:
    """Fails if there are mistakes, and names all of them: pytest cuts the text of an assert."""
    if mistakes:
        pytest.fail("\n".join(mistakes), pytrace=False)


def test_every_command_is_one_that_is_checked():
    assert len(OWN) > 40
    for page, text in COMMANDS:
        ours = PROGRAM.match(text)
        known = any(text.startswith(start) for start in OTHERS)
        assert ours or known, f"{page}: what is {text!r}? Parse it, or put it into OTHERS"


def test_programs_take_the_commands_of_the_pages():
    words = [(module, [str(word) for word in arguments]) for _, module, arguments in OWN]
    # DIR/best.py and the like are the reader's; the rest of such a command is parsed all the same.
    words = [
        (
            module,
            [re.sub(r"^--config=DIR/.*", "--config=configs/default.py:x3", each) for each in w],
        )
        for module, w in words
    ]
    wrong = [
        f"{command.page}: {command.text}\n    {text.strip().splitlines()[-1:]}"
        for (command, _, _), (code, text) in zip(OWN, parse(words), strict=True)
        if code
    ]
    fail_with(wrong)


def test_a_wrong_flag_word_or_field_is_noticed():
    calls = [
        ("srcnn_jax.main", ["--config=configs/default.py:x3,916"]),
        ("srcnn_jax.main", ["--config=configs/default.py:x3", "--config.train.step=3"]),
        ("srcnn_jax.main", ["--config=configs/default.py:x3", "--worksdir=a"]),
        ("srcnn_jax.upscale", ["a.png", "--scales", "3"]),
        ("experiments.paper.filter_sizes", ["WORKDIR", "--budget=large"]),
        ("experiments.paper.not_there", []),
        ("srcnn_jax.main", ["--config=configs/default.py:x3"]),
    ]
    codes = [code for code, _ in parse(calls)]
    assert all(codes[:-1]), codes
    assert codes[-1] == 0


def test_flags_in_sentences_exist():
    known = set(NOT_OURS)
    for code, text in parse([(module, ["--help"]) for module in MODULES]):
        assert code in (0, 1), text  # absl's --help ends with 1
        known |= {f"--{flag}" for flag in re.findall(r"--(?:\[no\])?([a-z_]+)", text)}
        known |= {f"--no{flag}" for flag in re.findall(r"--\[no\]([a-z_]+)", text)}
    known.add("--verbosity")  # absl's own
    wrong = [
        f"{name(page)}: no program has {flag}: `{span}`"
        for page in PAGES
        for span in spans(page.read_text())
        if span.startswith("--")
        for flag in re.findall(r"(?<![\w-])--[a-z][\w.-]*", span)
        if not flag.startswith("--config.") and flag not in known
    ]
    fail_with(wrong)


def test_config_words_exist():
    wrong = []
    for page in PAGES:
        for file, words in CONFIG.findall(page.read_text()):
            if PLACEHOLDER.search(words):
                continue
            try:
                importlib.import_module(f"configs.{file}").get_config(words)
            except (ValueError, ModuleNotFoundError) as error:
                wrong.append(f"{name(page)}: configs/{file}.py:{words}: {error}")
    fail_with(wrong)


def test_config_fields_in_sentences_exist():
    config = default.get_config("x3")
    wrong = []
    for page in PAGES:
        text = page.read_text()
        named = [span for span in spans(text) if FIELD.fullmatch(span)]
        named += re.findall(r"--config\.([\w.]+)", prose(text))
        named += re.findall(rf'"({FIELD.pattern})"', text)
        files = (".py", ".png", ".md", ".json", ".ipynb")
        wrong += [
            f"{name(page)}: the config has no field {field}"
            for field in named
            if not field.endswith(files) and not has_field(config, field)
        ]
    fail_with(wrong)


def has_field(config, field: str) -> bool:
    """Whether a config has a field with this dotted name."""
    value = config
    for part in field.split("."):
        if not hasattr(value, "keys") or part not in value:
            return False
        value = value[part]
    return True


def test_files_and_modules_that_are_named_exist():
    missing = []
    for page in PAGES:
        text = page.read_text()
        for span in spans(text):
            if OWN_FILE.fullmatch(span) and not (ROOT / span).exists():
                missing.append(f"{name(page)}: {span}")
            if OWN_MODULE.fullmatch(span) and not module_exists(span):
                missing.append(f"{name(page)}: {span}")
    for command, _, arguments in OWN:
        made = {after for each, after in itertools.pairwise(arguments) if each in OUTPUTS}
        for word in arguments:
            option, _, value = word.rpartition("=")
            path = re.sub(r":[\w,]+$", "", value)
            if OWN_FILE.fullmatch(path) and not PLACEHOLDER.search(path):
                exists = (ROOT / path).parent if option in OUTPUTS or word in made else ROOT / path
                # The figures of the results are what scripts write.
                exists = exists.parent if path.endswith(".png") else exists
                if not exists.exists():
                    missing.append(f"{command.page}: {command.text}: {path}")
    for page, text in COMMANDS:
        for path in re.findall(r"(?:-r|-f|pytest) ([\w/.-]+\.\w+)", text):
            if not (ROOT / path).exists():
                missing.append(f"{page}: {text}: {path}")
    fail_with(missing)


def module_exists(dotted: str) -> bool:
    """Whether it is a module, or a name that stands in a module's file."""
    try:
        if importlib.util.find_spec(dotted) is not None:
            return True
    except ModuleNotFoundError:
        pass
    parent, _, last = dotted.rpartition(".")
    spec = importlib.util.find_spec(parent)
    return spec is not None and last in pathlib.Path(spec.origin or "").read_text()


def test_a_test_that_a_page_names_exists():
    for page, text in COMMANDS:
        if match := re.search(r"pytest (\S+) -k (\w+)", text):
            assert match[2] in (ROOT / match[1]).read_text(), f"{page}: {text}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page):
    for target in LINK.findall(page.read_text()):
        if re.match(r"https?://", target):
            continue
        path = (page.parent / target.partition("#")[0]).resolve()
        assert path.exists(), f"{name(page)}: {target}"


def test_readme_is_short_and_has_two_commands():
    lines = README.read_text().splitlines()
    assert len(lines) <= MOST_LINES
    assert sum(line.startswith("python3 -m venv") for line in lines) == 2  # .ci/run takes them


def tree() -> dict[str, str]:
    """README's tree: what is said of each file and folder, by its path."""
    (block,) = (block for language, block in FENCE.findall(README.read_text()) if not language)
    found, folder = {}, ""
    for line in block.splitlines():
        indent, entry, job = re.fullmatch(r"( *)(\S+) *(.*)", line).groups()
        if not indent:
            folder = entry
        found[folder if not indent else folder + entry] = job
    return found


def test_the_tree_is_the_houses():
    entries = tree()
    missing = [entry for entry in entries if not (ROOT / entry).exists()]
    # Files in the line of a folder: a name with .py or .ipynb, or a module of the package.
    missing += [
        folder + file
        for folder, job in entries.items()
        for file in re.findall(r"\w+\.(?:py|md|ipynb)\b", job)
        if not (ROOT / folder / file).exists()
    ]
    fail_with([f"README's tree has {each}, which is not there" for each in missing])


def test_every_module_is_in_the_tree():
    entries = tree()
    missing = []
    for path in sorted((ROOT / "srcnn_jax").rglob("*.py")):
        folder, module = f"{name(path.parent)}/", path.stem
        if module == "__init__":
            continue
        in_line = re.search(rf"\b{module}\b", entries.get(folder, ""))
        if name(path) not in entries and not in_line:
            missing.append(name(path))
    for path in sorted((ROOT / "configs").glob("[!_]*.py")):
        if path.name not in entries["configs/"]:
            missing.append(name(path))
    fail_with([f"README's tree lacks {each}" for each in missing])


def test_every_page_of_results_and_docs_is_in_an_index():
    for index, pages in (
        (RESULTS / "README.md", RESULTS.rglob("*.md")),
        (ROOT / "docs/README.md", (ROOT / "docs").glob("*.md")),
    ):
        linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
        assert set(pages) - linked - {index} == set()


def test_a_result_page_has_a_question_an_answer_a_command_and_few_caveats():
    for page in RESULTS.glob("*/*.md"):
        text = page.read_text()
        assert text.startswith("# "), page
        assert text.splitlines()[2].startswith("Question: "), page
        assert re.search(r"^\*\*", text, re.MULTILINE), f"{name(page)}: no answer in bold"
        assert "```bash\n" in text, f"{name(page)}: no command"
        assert text.count("\n- ") <= 5, f"{name(page)}: more than five caveats"


def test_the_titles_of_the_log_are_dated_newest_first_and_say_what_became_of_it():
    titles = re.findall(r"^## (.*)$", (RESULTS / "LOG.md").read_text(), re.MULTILINE)
    assert titles
    for title in titles:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d: .+ \((kept|no gain|measured|open)\)", title), title
    dates = [title[:10] for title in titles]
    assert dates == sorted(dates, reverse=True)


def documented() -> list[tuple[Command, str, list[str]]]:
    """The commands of README and docs that start one of our programs, each once."""
    each = {
        text: (command, module, args) for command, module, args in OWN if (text := command.text)
    }
    return [found for found in each.values() if not found[0].page.startswith("experiments/")]


def is_run(command: Command) -> bool:
    return not any(re.search(pattern, command.text) for pattern in NOT_RUN)


def test_every_reason_counts_for_a_command():
    texts = [command.text for command, _, _ in documented()]
    assert [p for p in NOT_RUN if not any(re.search(p, text) for text in texts)] == []


@pytest.fixture(scope="module")
def desk(tmp_path_factory, photographs):
    """A folder with the files that the pages name, where their commands can be run."""
    folder = tmp_path_factory.mktemp("desk")
    for part in ("srcnn_jax", "configs", "experiments"):
        (folder / part).symlink_to(ROOT / part)
    first, *_ = sorted(pathlib.Path(photographs).iterdir())
    with Image.open(first) as picture:
        for file in ("photo.jpg", "a.png", "b.tif"):
            picture.save(folder / file)
        (folder / "FOLDER").mkdir()
        picture.save(folder / "FOLDER/photo.png")
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs/cat.png", folder / "docs")
    (folder / "FILE_OR_WORKDIR").mkdir()
    network = weights.load_pretrained(3)
    weights.save(folder / "FILE_OR_WORKDIR" / "weights.safetensors", network)
    layer = {"kernel": np.zeros((3, 3, 3, 3), np.float32), "bias": np.zeros(3, np.float32)}
    in_colour = weights.Network({"conv1": layer, "conv2": layer}, colour="rgb")
    weights.save(folder / "net.pth", in_colour)
    return folder


@pytest.mark.parametrize(
    ("command", "module", "arguments"),
    [each for each in documented() if is_run(each[0]) and "main" not in each[1]],
    ids=lambda value: value.text if isinstance(value, Command) else "",
)
def test_commands_run_on_small_files(command, module, arguments, desk):
    given = re.search(r" < (\S+)", command.text)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=desk,
        input=(desk / given[1]).read_bytes() if given else None,
        capture_output=True,
    )
    assert done.returncode == 0, f"{command.page}: {command.text}\n{done.stderr.decode()}"


@pytest.mark.parametrize(
    ("command", "module", "arguments"),
    [each for each in documented() if is_run(each[0]) and "main" in each[1]],
    ids=lambda value: value.text if isinstance(value, Command) else "",
)
def test_trainings_are_such_as_main_would_begin(command, module, arguments, monkeypatch):
    """All that is checked before the data are loaded: fields, network, optimiser, devices."""
    monkeypatch.chdir(ROOT)
    holder = flags.FlagValues()
    said = [each for each in arguments if each.startswith("--config")]
    config_flags.DEFINE_config_file("config", flag_values=holder, sys_argv=["main", *said])
    holder(["main", *said])
    train.check_config(holder.config)
