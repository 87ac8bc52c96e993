//! A child that speaks the protocol by itself and ends together with its last bytes:
//! `cut_child answer|call`.

use panpipe_tests::endings;
use panpipe_tests::raw;
use panpipe_tests::sys::pipes_to_host;

fn main() {
    let what = std::env::args().nth(1).expect("cut_child answer|call");
    let [mut read, mut write] = pipes_to_host("PANPIPE_HANDLES");
    endings::greet(&mut read, &mut write, raw::mutual_hello("Probe"), 0);
    match what.as_str() {
        "answer" => endings::answer(&mut read, &mut write),
        "call" => endings::call(&mut read, &mut write),
        other => panic!("{other} is no end of a connection"),
    }
    drop((read, write));
}
