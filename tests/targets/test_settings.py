"""Versions and the flags that options become."""

import pytest

from kvbench.targets import settings, versions
from kvbench.targets.running import TargetError
from kvbench.targets.spec import parse_target


def test_versions_sort_by_age() -> None:
    ordered = ["", "3.4.23", "3.5.1", "3.5.35", "3.6.16", "3.7.0-rc.1", "3.7.0", "3.7.3", "3.10.0"]
    assert sorted(reversed(ordered), key=versions.version_key) == ordered


@pytest.mark.parametrize(("version", "bad"), [("3.4.23", False), ("3.5.0", True), ("3.5.2", True), ("3.5.3", False)])
def test_the_data_bug_of_early_3_5_is_known(version: str, bad: bool) -> None:
    assert bool(versions.known_data_bug("etcd", version)) is bad
    assert versions.known_data_bug("zookeeper", version) == ""


def test_etcd_defaults_add_no_flag() -> None:
    for version in ("3.4.23", "3.7.3"):
        assert [setting.flags for setting in settings.settings_of(parse_target("etcd"), version)] == [(), ()]


def test_what_snapshots_off_costs_depends_on_the_version() -> None:
    assert "stays in memory" in settings.etcd_snapshots("3.5.35", "off").cost
    assert "memory is not affected" in settings.etcd_snapshots("3.6.16", "off").cost
    assert "100,000 writes" in settings.etcd_snapshots("3.5.35", "on").cost
    assert "10,000 writes" in settings.etcd_snapshots("3.6.16", "on").cost


def test_etcd_3_4_cannot_switch_fsync_off() -> None:
    with pytest.raises(TargetError, match=r"3\.5\.0") as caught:
        settings.etcd_fsync("3.4.23", False)
    assert "version=" in caught.value.remedy


def test_zookeeper_counts_transactions_in_an_int_without_overflow() -> None:
    count = settings.ZOOKEEPER_SNAPSHOTS_OFF
    largest_random_part = count // 2 - 1
    assert count <= 2**31 - 1
    assert count // 2 + largest_random_part <= 2**31 - 1


def test_the_readme_table_has_every_combination() -> None:
    header, *rows = settings.readme_table()
    assert len(header) == 4
    assert len(rows) == 20
    assert all(all(cell for cell in row) for row in rows)
    assert [row[2] for row in rows if row[0] == "etcd 3.4" and row[1] == "fsync=off"] == ["refused"]
