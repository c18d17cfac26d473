"""`python -m lanka` is `lanka`."""

from lanka.commands import app

app(prog_name="lanka")
