# Sourced by demo, test, check and bench: `environment demo` (or test, or bench) makes .venv ready and says so only if it
# has work to do. Needs Python 3.11 or later and nothing else.

find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3; do
        # A name on the PATH may be a version manager's shim for a version that is not switched on: ask it.
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "privity needs Python 3.11 or later with venv; none of python3.13, python3.12, python3.11, python3 on the PATH" \
        "is one. Install one (Debian: apt-get install python3 python3-venv) and try again." >&2
    return 1
}

environment() {
    local wanted="$1" python stamp
    stamp="$(cat pyproject.toml "requirements/$wanted.txt" | cksum)"
    if [ -x .venv/bin/python ] && [ "$(cat ".venv/ready-$wanted" 2>/dev/null)" = "$stamp" ] &&
        .venv/bin/python -c 'import parties' >/dev/null 2>&1; then
        return
    fi
    python="$(find_python)" || return 1
    echo "setting up .venv ($("$python" --version)); the first time this takes a minute" >&2
    if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        rm -rf .venv
        "$python" -m venv .venv
    fi
    rm -f .venv/ready-*
    local pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet --no-input)
    "${pip[@]}" install --require-hashes -r "requirements/$wanted.txt"
    "${pip[@]}" install --no-deps --no-build-isolation --editable .
    # pip compiles what it installs; ours is where it is, and every process would compile it where Python may not write.
    .venv/bin/python -m compileall -q mpc parties protocols
    .venv/bin/python -c 'from mpc import native; native.load()' # compile the kernels now and never in a run
    echo "$stamp" >".venv/ready-$wanted"
    # What the bench needs holds what tests need, and that holds what the demo needs.
    case "$wanted" in
        bench) cat pyproject.toml requirements/demo.txt | cksum >.venv/ready-demo
               cat pyproject.toml requirements/test.txt | cksum >.venv/ready-test ;;
        test) cat pyproject.toml requirements/demo.txt | cksum >.venv/ready-demo ;;
    esac
}
