"""`hil sample`: the modules that go by a name."""

from __future__ import annotations

import click

from hil import slow
from hil.cli.common import json_option, origin, show
from hil.errors import ConfigurationError
from hil.host import project
from hil.wasm import catalogue


@click.group()
def sample() -> None:
    """The sample modules, which go by their names."""


@sample.command("list")
@json_option
def sample_list(json_: bool) -> None:
    """List the samples. A module in the project's directory of samples hides one of the package of the same name."""
    samples = slow.Samples()
    about = {samples.directory / each.file: each.about for each in samples}
    rows = []
    for name, path in project.current().names("samples", ".wasm").items():
        rows.append({"name": name, **origin("samples", path), "file": path.name, "about": about.get(path, "")})
    listed = {row["name"] for row in rows}
    for name, text in catalogue.on_demand().items():
        if name not in listed:
            file = catalogue.SAMPLES_DIR / f"{name}.wasm"
            about_it = f"{text} (built on first use)"
            rows.append({"name": name, **origin("samples", file), "file": file.name, "about": about_it})
    show(rows, json_)


@sample.command("include")
@click.option("--rust", is_flag=True, help="The directory of the Rust crates instead.")
def sample_include(rust: bool) -> None:
    """Print the directory of the C headers of the host functions, for `clang -I "$(hil sample include)"`."""
    directory = project.packaged("wasm_samples") / ("rust" if rust else "include")
    if not directory.is_dir():
        raise ConfigurationError(f"{directory} is missing", hint="Install the package wasm-hil again.")
    click.echo(directory)
