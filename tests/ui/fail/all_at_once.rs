//! Every error of a trait at once, each on its own token.

#[panpipe::service]
pub trait Wrong {
    type Item;
    const LIMIT: u8;
    fn not_async(&self);
    async fn no_self(x: u8);
    async fn by_value(self);
    async fn exclusive(&mut self);
    async fn borrows(&self, key: &str, bytes: &[u8]) -> &'static str;
    async fn opaque(&self, x: impl Send) -> impl Send;
    async fn generic<T>(&self, x: T);
    async fn clause(&self) where u8: Copy;
    async unsafe fn dangerous(&self);
    async fn pattern(&self, (a, b): (u8, u8));
    async fn serve(&self);
    async fn connect(&self);
    async fn offer(&self);
    #[oneway]
    async fn answers(&self) -> u8;
    #[oneway]
    #[timeout("1s")]
    async fn both(&self);
    #[timeout("soon")]
    async fn late(&self);
    #[timeout("0s")]
    async fn never(&self);
    #[oneway(twice)]
    async fn told(&self);
    #[oneway]
    #[idempotent]
    async fn again(&self);
    #[idempotent = true]
    async fn valued(&self);
    async fn fine(&self) -> u8;
}

// The rest of the program has no errors of its own from this.
struct Implementation;

fn uses(client: WrongClient) {
    drop(client.fine());
}

fn main() {}
