//! The program: reads the command line, does what it says, and tells the shell how it went.

use clap::Parser;

fn main() {
    let cli = unmute::cli::Cli::parse();
    std::process::exit(unmute::cli::run(cli));
}
