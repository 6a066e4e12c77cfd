# Sourced: a virtual environment with stm32loader and canprog, made anew when the list of versions changes. Sets
# $python to its interpreter, or to the system's if it cannot be made: then the checks that need it fail.
venv=target/peers/venv
mkdir -p target/peers
if ! cmp -s tests/peers/requirements.txt "$venv/installed.txt"; then
    rm -rf "$venv"
    make_venv() {
        python3 -m venv "$venv" || {
            # Debian keeps the module in a package of its own.
            [ "$(id -u)" = 0 ] && apt-get install -y python3-venv && python3 -m venv "$venv"
        }
    }
    if make_venv >"target/peers/venv.log" 2>&1 \
        && "$venv/bin/pip" install --disable-pip-version-check -r tests/peers/requirements.txt >"target/peers/pip.log" 2>&1
    then
        cp tests/peers/requirements.txt "$venv/installed.txt"
    else
        tail -n 3 "target/peers/venv.log" "target/peers/pip.log" >&2 || true
    fi
fi
python=$venv/bin/python
[ -x "$python" ] || python=python3
