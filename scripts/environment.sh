# Sourced by demo, test, check and bench: `environment demo` (or test, or bench) makes the environment in $venv ready and
# says so only if it has work to do. Needs Python 3.11 or later and nothing else.

venv=.venv # `choose 3.13` takes one of that Python, and says which that is in $version and $chosen
version="" chosen=""
versions=(3.13 3.12 3.11)

usable() { # usable PYTHON [X.Y]
    # A name on the PATH may be a version manager's shim for a version that is not switched on: ask it.
    "$1" -c 'import sys, venv, ensurepip
this = "%d.%d" % sys.version_info[:2]
sys.exit(sys.version_info < (3, 11) or this != (sys.argv[1:] or [this])[0])' "${@:2}" >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in "${versions[@]/#/python}" python3; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "privity needs Python 3.11 or later with venv; none of python3.13, python3.12, python3.11, python3 on the PATH" \
        "is one. Install one (Debian: apt-get install python3 python3-venv) and try again." >&2
    return 1
}

find_version() { # find_version X.Y: on the PATH, or where pyenv, asdf and uv put what is not switched on
    local name="python$1" shim candidate
    local places=("$name" python3 "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$1".*/bin/"$name")
    places+=("${HOME:-}/.local/share/uv/python/cpython-$1".*/bin/"$name")
    while read -r shim; do
        case "$shim" in
            */shims/*) places+=("${shim%/shims/*}"/{versions,installs/python}/"$1".*/bin/"$name") ;;
        esac
    done < <(type -aP "$name" || true)
    for candidate in "${places[@]}"; do
        if usable "$candidate" "$1"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

found_versions() {
    local one
    for one in "${versions[@]}"; do
        find_version "$one" >/dev/null && echo "$one"
    done
    return 0
}

choose() { # choose X.Y: its environment is .venv if that is of this version, else one of its own beside it
    local all
    if ! [[ "$1" =~ ^3\.[0-9]+$ ]] || ! chosen="$(find_version "$1")"; then
        all="$(found_versions)"
        echo "--python $1: no such Python with venv is found here; found: ${all//$'\n'/, }. privity needs 3.11 or later." >&2
        return 2
    fi
    version="$1"
    venv=.venv
    usable .venv/bin/python "$1" || venv=".venv-$1"
}

chosen_in() { # chosen_in ARGUMENTS: take --python X.Y out of them; the others are left in `rest`
    rest=()
    while [ $# -gt 0 ]; do
        case "$1" in
            --python)
                choose "${2:-}" || return
                shift
                ;;
            --python=*) choose "${1#--python=}" || return ;;
            *) rest+=("$1") ;;
        esac
        shift
    done
}

environment() {
    local wanted="$1" python stamp
    stamp="$(cat pyproject.toml "requirements/$wanted.txt" | cksum)"
    if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/ready-$wanted" 2>/dev/null)" = "$stamp" ] &&
        "$venv/bin/python" -c 'import parties' >/dev/null 2>&1; then
        return
    fi
    python="$venv/bin/python"
    usable "$python" ${version:+"$version"} || python="${chosen:-$(find_python)}"
    [ -n "$python" ] || return 1
    echo "setting up $venv ($("$python" --version)); the first time this takes a minute" >&2
    if [ "$python" != "$venv/bin/python" ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv" || return 1
    fi
    rm -f "$venv"/ready-*
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input)
    "${pip[@]}" install --require-hashes -r "requirements/$wanted.txt" || return 1
    "${pip[@]}" install --no-deps --no-build-isolation --editable . || return 1
    # pip compiles what it installs; ours is where it is, and every process would compile it where Python may not write.
    "$venv/bin/python" -m compileall -q mpc parties protocols || return 1
    "$venv/bin/python" -c 'from mpc import native; native.load()' || return 1 # compile the kernels now, never in a run
    echo "$stamp" >"$venv/ready-$wanted"
    # What the bench needs holds what tests need, and that holds what the demo needs.
    case "$wanted" in
        bench) cat pyproject.toml requirements/demo.txt | cksum >"$venv/ready-demo"
               cat pyproject.toml requirements/test.txt | cksum >"$venv/ready-test" ;;
        test) cat pyproject.toml requirements/demo.txt | cksum >"$venv/ready-demo" ;;
    esac
}
