//! The `alignatt` program; everything is in the library.

fn main() -> std::process::ExitCode {
    alignatt::internals::main()
}
