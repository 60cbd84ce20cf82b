"""The lines on stdout, and a reader of them that leaves."""

import subprocess
import sys


def test_a_reader_that_leaves_does_not_end_the_search():
    """As `| head -1` does, or `| less` that is quit."""
    code = (
        "import sys; from search.console.screen import Screen; screen = Screen()\n"
        "for _ in range(20_000): screen.say('a line of some length, of which there are many')\n"
        "print('went on', file=sys.stderr)"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout.readline().startswith("a line")
    writer.stdout.close()
    said = writer.stderr.read()
    assert (writer.wait(60), said) == (0, "went on\n")
