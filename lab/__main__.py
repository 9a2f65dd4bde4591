"""`python -m lab` is the `lab` command, for those who start it elsewhere: a launcher's job, whose search path may lack it."""

from lab.cli import main

main()
