# The front door for commands: `just` lists them.

_list:
    @just --list

# Make .venv and find redis-server
setup:
    bash -c 'source scripts/lib.sh; ensure_dev_env; ensure_redis'

# Run the tests; --all adds the slow and the destructive ones
test *arguments:
    ./scripts/test {{arguments}}

# Check form and import walls; --fix repairs
lint *arguments:
    ./scripts/lint {{arguments}}

# Check types with strict pyright and strict mypy
types:
    ./scripts/types

# Run what CI runs
ci:
    ./.ci/run

# Watch a mesh at work
demo *arguments:
    ./scripts/demo {{arguments}}

# Measure: `just bench tasks --rounds 5 --json figures.json`
bench name *arguments:
    ./scripts/bench {{name}} {{arguments}}

# Run docker-compose.yml with podman, cut a node off, watch it return
containers:
    ./scripts/containers

# Run a command on a fresh clone in a bare Debian container
clean-room *arguments:
    ./scripts/clean-room {{arguments}}

# Build the wheel and the source distribution into dist/
build:
    bash -c 'source scripts/lib.sh; ensure_dev_env; ensure_uv; "$UV" build --out-dir dist'
