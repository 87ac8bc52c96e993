//! The editor and its formatter as they are built this month: both traits are at version
//! 4, have a few more methods, and still speak version 3.

use std::process::{Command, ExitCode};
use std::time::Duration;

use panpipe::{CallError, Connection, Server, ServiceClient, call};

/// What an editor asks of its formatter.
#[panpipe::service(name = "test.formatter", versions = 3..=4)]
pub trait Formatter {
    /// The text as it should look.
    async fn format(&self, text: String) -> Result<String, String>;
    /// The versions in which the formatter is called, calls its editor, and is heard there.
    async fn spoken(&self) -> Result<String, String>;
    /// Some of the text as it should look, the rest as it is.
    #[since(4)]
    async fn format_from(&self, text: String, from: usize) -> Result<String, String>;
    /// Forgets what it has in mind.
    #[since(4)]
    #[oneway]
    async fn forget(&self);
}

/// What a formatter asks of its editor.
#[panpipe::service(name = "test.editor", versions = 3..=4)]
pub trait Editor {
    /// The width of a line.
    async fn width(&self) -> usize;
    /// The version in which the editor is called.
    async fn spoken(&self) -> Option<u32>;
    /// The colours.
    #[since(4)]
    async fn theme(&self) -> String {
        format!("width {} on white", self.width().await)
    }
}

/// What an editor has for those who ask: with two services on offer it is the plugin that
/// chooses.
#[panpipe::service(name = "test.dictionary", version = 4)]
pub trait Dictionary {
    /// Whether it is a word.
    async fn knows(&self, word: String) -> bool;
}

struct Words;

impl Dictionary for Words {
    async fn knows(&self, word: String) -> bool {
        !word.is_empty()
    }
}

struct Window;

impl Editor for Window {
    async fn width(&self) -> usize {
        8
    }

    async fn spoken(&self) -> Option<u32> {
        call::version()
    }
}

/// Where the editor is.
enum Plugin {
    OfParent(EditorClient),
    OfClient(Connection),
}

impl Plugin {
    async fn editor(&self) -> Result<EditorClient, String> {
        match self {
            Plugin::OfParent(editor) => Ok(editor.clone()),
            Plugin::OfClient(client) => client.client().await.map_err(words),
        }
    }
}

impl Formatter for Plugin {
    async fn format(&self, text: String) -> Result<String, String> {
        let width = self.editor().await?.width().await.map_err(words)?;
        Ok(format!("{text:>width$}"))
    }

    async fn spoken(&self) -> Result<String, String> {
        let called = call::version();
        let editor = self.editor().await?;
        let heard = editor.spoken().await.map_err(words)?;
        let theme = editor.theme().await;
        Ok(format!("called in {called:?}, calls in {:?}, heard in {heard:?}, {theme:?}", editor.version()))
    }

    async fn format_from(&self, text: String, from: usize) -> Result<String, String> {
        let (head, tail) = text.split_at_checked(from).ok_or("out of the text")?;
        Ok(format!("{head}{}", self.format(tail.to_owned()).await?))
    }

    async fn forget(&self) {}
}

fn words(error: CallError) -> String {
    error.to_string()
}

/// Prints what the formatter answers.
async fn talk(formatter: &FormatterClient) {
    println!("version: {:?}", formatter.version());
    // The first call is on its way before the other side's version is known.
    println!("format_from: {:?}", formatter.format_from("a text".to_owned(), 2).await);
    println!("format: {:?}", formatter.format("text".to_owned()).await);
    println!("version: {:?}", formatter.version());
    println!("spoken: {:?}", formatter.spoken().await);
    println!("format_from: {:?}", formatter.format_from("text".to_owned(), 9).await);
    println!("forget: {:?}", formatter.forget().await);
}

/// The program: `child`, `host PROGRAM`, `server NAME` or `client NAME`.
pub async fn run(args: Vec<String>) -> ExitCode {
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match *args {
        ["child"] => {
            let served = panpipe::serve_parent(|editor| Plugin::OfParent(editor).serve()).await;
            return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        ["host", program] => {
            let mut command = Command::new(program);
            command.arg("child");
            let spawn = panpipe::spawn(command).offer(Words.serve()).offer(Window.serve());
            let child = spawn.start().expect("the child runs");
            talk(child.client()).await;
            let ended = child.shutdown(Duration::from_secs(10)).await.expect("the child is waited for");
            println!("ended: {}", ended.success());
        }
        ["server", name] => {
            let server = Server::bind(name)
                .service_per_client(|client: &Connection| Plugin::OfClient(client.clone()).serve())
                .start()
                .expect("the name is free");
            println!("ready");
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
            server.shutdown().await.expect("the server's task does not panic");
        }
        ["client", name] => {
            let client = FormatterClient::connect(name).offer(Window.serve()).await;
            talk(&client.expect("the server listens")).await;
        }
        _ => panic!("{args:?} is nothing to do"),
    }
    ExitCode::SUCCESS
}
