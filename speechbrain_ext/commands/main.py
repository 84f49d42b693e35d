"""The command speechbrain-ext: a trained model used from the command line."""

import argparse
import importlib
import os
import sys

from speechbrain_ext.errors import InputError
from speechbrain_ext.openmp import wait_briefly

# Each module has DESCRIPTION, add_arguments(parser) and run(options), which returns the exit status.
COMMANDS = {
    "predict": "speechbrain_ext.commands.predict",
    "timeline": "speechbrain_ext.commands.timeline",
    "web": "speechbrain_ext.commands.web",
}
SUMMARIES = {
    "predict": "classify recordings: a file, a folder or a list of paths",
    "timeline": "follow the emotions through a long recording",
    "web": "open a page in the browser to record or upload speech",
}
INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C has ended


def main(argv=None):
    """Run a command.

    Arguments
    ---------
    argv : list of str, optional
        The words after the program's name; by default those it was started with.

    Returns
    -------
    int
        The exit status: 0, 1 if something could not be done, 2 for a wrong command line.
    """
    wait_briefly()
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="speechbrain-ext",
        description="Speech emotion recognition with a trained model: a bundle, as export.py writes it, "
        "or USER/NAME on the Hugging Face Hub.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in argv if not word.startswith("-")), None)
    for name, module_name in COMMANDS.items():
        command = commands.add_parser(
            name, help=SUMMARIES[name], allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == asked:  # only then: their imports take seconds
            module = importlib.import_module(module_name)
            command.description = module.DESCRIPTION
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    options = parser.parse_args(argv)
    try:
        return options.run(options)
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # who read our output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"speechbrain-ext {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"speechbrain-ext {options.command}: interrupted.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
