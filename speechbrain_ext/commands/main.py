"""The command `speechbrain-ext` and the recipes' scripts: one table of commands, one way of ending."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Optional

from speechbrain_ext.errors import InputError, did_you_mean
from speechbrain_ext.openmp import wait_briefly
from speechbrain_ext.outside_text import guard_terminal
from speechbrain_ext.storage import describe_fault

# Each name is a module of this room. It has DESCRIPTION, add_arguments(parser) and run(options), which returns the exit
# status; where other words belong to train.py, it also has read_options(parser, words), which takes them apart.
COMMANDS = {
    "prepare": "read a corpus, check it, and write its manifest",
    "check": "say what is in a corpus and what is wrong with it",
    "run": "train and test all folds and seeds, here or on Ray",
    "report": "say what tested runs say together",
    "audit": "say what any folds leak, and how good any predictions are",
    "ablations": "run the paper's studies beside the paper's numbers",
    "export": "write a trained fold as a bundle, the folder that the next three take",
    "predict": "classify recordings: a file, a folder or a list of paths",
    "timeline": "follow the emotions through a long recording",
    "web": "open a page in the browser to record or upload speech",
}
INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C has ended


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command that the words name.

    Arguments
    ---------
    argv : list of str, optional
        The words after the program's name; by default those it was started with.

    Returns
    -------
    int
        The exit status: 0, 1 if something could not be done, 2 for a wrong command line.
    """
    guard_terminal()
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in COMMANDS:
        return run_command(argv[0], argv[1:], f"speechbrain-ext {argv[0]}")
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="speechbrain-ext",
        usage="speechbrain-ext [-h] [--version] COMMAND ...",
        description="Speech emotion recognition: from a corpus to results, and a trained model in use.",
        epilog="commands:\n" + "\n".join(f"    {name:{width}}  {text}" for name, text in COMMANDS.items())
        + "\n\n`speechbrain-ext COMMAND --help` explains each. One fold is trained by train.py.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--version", action="store_true", help="print the version and end")
    parser.add_argument("command", metavar="COMMAND", nargs="?", help="one of those below")
    options, others = parser.parse_known_args(argv)
    if options.version:
        from speechbrain_ext import __version__

        print(f"speechbrain-ext {__version__}")
        return 0
    if options.command is None:
        parser.error(f"a COMMAND is missing{f' before {others[0]}' if others else ''}.")
    hint = did_you_mean(options.command, COMMANDS) or f" It must be one of {', '.join(COMMANDS)}."
    parser.error(f"{options.command!r} is no command.{hint}")


def run_command(name: str, words: Sequence[str], prog: str, fixed: Sequence[str] = ()) -> int:
    """Run one command; what is wrong is said in a sentence on standard error.

    Arguments
    ---------
    name : str
        One of `COMMANDS`.
    words : list of str
        The user's words.
    prog : str
        What the program calls itself.
    fixed : list of str
        Words that a script adds to the user's.

    Returns
    -------
    int
        The exit status.
    """
    guard_terminal()
    wait_briefly()
    module = importlib.import_module(f"speechbrain_ext.commands.{name}")  # only now: its imports may take seconds
    parser = argparse.ArgumentParser(
        prog=prog,
        description=module.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    positionals = (action for action in parser._actions if not action.option_strings)
    for action, _ in zip(positionals, (word for word in fixed if not word.startswith("-"))):
        action.help = argparse.SUPPRESS  # the script gives it
    read_options = getattr(module, "read_options", argparse.ArgumentParser.parse_args)
    try:
        return module.run(read_options(parser, [*fixed, *words]))
    except BrokenPipeError:  # who read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, OSError) as error:
        print(f"{prog}: {describe_fault(error) or error}", file=sys.stderr)
        return 1
    except UnicodeEncodeError as error:  # libraries take other names for texts
        name = error.object[max(0, error.start - 60) : error.end + 60]
        print(f"{prog}: {name!a} is no UTF-8. Rename it, or set a UTF-8 locale.", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:  # what it says is how to resume
        print(f"{prog}: interrupted. {interrupt}".rstrip(), file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
