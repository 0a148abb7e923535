"""Result of an export to a Triton repository, as a table on the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export.triton_repository.request import WrittenRepository


def print_written(written: WrittenRepository, console: Console) -> None:
    """Print the networks, their notes, and the requirements of Triton's Python."""
    table = Table(box=None, pad_edge=False)
    for title in ("network", "versions", "largest batch", "precision"):
        table.add_column(title, overflow="fold")
    for network in written.networks:
        versions = ", ".join(map(str, network.versions))
        table.add_row(*map(escape, (network.name, versions, str(network.max_batch), network.precision)))
    console.print(table)
    console.print("The input of NETWORK is pixels, that of NETWORK.image is image files.")
    for note in dict.fromkeys(note for network in written.networks for note in network.notes):
        names = [network.name for network in written.networks if note in network.notes]
        console.print(f"[bold]note[/] {escape(', '.join(names))}: {escape(note)}", highlight=False)
    console.print(f"[bold]requirements of Triton's Python[/] {escape(' '.join(written.requirements))}", highlight=False)
    # Not wrapped, so that it can be copied.
    console.print(f"[bold]repository[/] {escape(str(written.path))}", soft_wrap=True, highlight=False)
