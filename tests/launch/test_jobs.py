"""Jobs that cannot be run together."""

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.launch.jobs import Job, check_jobs


def jobs(names):
    return [Job(name, ("true",), "log") for name in names]


def test_jobs_with_names_of_their_own_pass():
    check_jobs(jobs("abc"), retries=0)
    check_jobs([], retries=2)


def test_jobs_of_one_name_and_impossible_retries_are_refused():
    with pytest.raises(InputError, match="each job must have its own name, got more than once: a, b. Rename them."):
        check_jobs(jobs("bacba"), retries=1)
    with pytest.raises(InputError, match="retries must be a whole number from 0, got -1"):
        check_jobs(jobs("a"), retries=-1)
