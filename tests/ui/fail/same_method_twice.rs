//! Two methods of one name.

#[panpipe::service]
trait Store {
    async fn get(&self, key: String) -> u8;
    async fn get(&self, key: String) -> u8;
}

fn main() {}
