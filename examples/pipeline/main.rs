//! A file streamed through a child process and back, each block with its bits
//! turned over, with progress shown on the way. However large the file is, each
//! process holds a few blocks of it.
//!
//! `cargo run --release --example pipeline -- FILE`; without a file it makes one
//! of 64 MiB and removes it again.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use panpipe::{NoService, Sender, Streaming, WhenFull};

/// Works on streams of blocks.
#[panpipe::service]
pub trait Inverter {
    /// Turns every bit over. `progress` hears how many bytes it has done.
    async fn invert(&self, blocks: Streaming<Vec<u8>>, progress: Sender<u64>) -> Streaming<Vec<u8>>;
    /// The most memory that this process ever had, in KiB.
    async fn peak_memory(&self) -> Option<u64>;
}

struct Bits;

impl Inverter for Bits {
    async fn invert(&self, blocks: Streaming<Vec<u8>>, progress: Sender<u64>) -> Streaming<Vec<u8>> {
        // A host that is slow to draw does not hold the work up.
        let progress = Arc::new(progress.when_full(WhenFull::KeepLatest));
        let done = Arc::new(AtomicU64::new(0));
        // A stream that is cut off ends here, and the host sees that its own did.
        let whole = blocks.take_while(|block| std::future::ready(block.is_ok()));
        Streaming::new(whole.filter_map(move |block| {
            let (progress, done) = (Arc::clone(&progress), Arc::clone(&done));
            async move {
                let mut block = block.ok()?;
                block.iter_mut().for_each(|byte| *byte = !*byte);
                let done = done.fetch_add(block.len() as u64, Ordering::Relaxed) + block.len() as u64;
                let _ = progress.send(done).await;
                Some(block)
            }
        }))
    }

    async fn peak_memory(&self) -> Option<u64> {
        peak_memory()
    }
}

/// How many bytes a block has.
const BLOCK: usize = 64 << 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1).as_deref() {
        Some("--child") => Ok(panpipe::serve_parent(|_: NoService| Bits.serve()).await?),
        Some(file) => run(Path::new(file)).await,
        None => {
            let file = TemporaryFile::of(64 << 20)?;
            run(&file.0).await
        }
    }
}

async fn run(file: &Path) -> Result<(), Box<dyn Error>> {
    let size = std::fs::metadata(file)?.len();
    let mut command = Command::new(env::current_exe()?);
    command.arg("--child");
    let child = panpipe::spawn(command).start::<InverterClient>()?;

    let (progress, mut steps) = panpipe::channel(4);
    let start = Instant::now();
    let mut blocks = child.client().invert(blocks_of(file)?, progress).await?;
    let bar = ProgressBar::new(size);
    bar.set_style(ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}")?);
    let drawing = tokio::spawn({
        let bar = bar.clone();
        async move {
            while let Some(Ok(done)) = steps.next().await {
                bar.set_position(done);
            }
        }
    });

    let (mut sum, mut came) = (Checksum::new(), 0);
    while let Some(block) = blocks.next().await.transpose()? {
        sum.add(&block, |byte| byte);
        came += block.len() as u64;
    }
    let took = start.elapsed();
    drawing.await?;
    bar.finish();

    let mut expected = Checksum::new();
    let (mut file, mut buffer) = (File::open(file)?, vec![0; BLOCK]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => expected.add(&buffer[..n], |byte| !byte),
        }
    }
    println!("{} there and back in {took:.2?}, {}/s", HumanBytes(came), HumanBytes(per_second(came, took)));
    println!("checksum of what came back: {:016x}", sum.0);
    println!("as computed from the file:  {:016x}", expected.0);
    let kib =
        |memory: Option<u64>| memory.map_or("unknown".to_owned(), |kib| HumanBytes(kib << 10).to_string());
    let child_memory = child.client().peak_memory().await?;
    println!("most memory: {} here, {} in the child", kib(peak_memory()), kib(child_memory));
    child.shutdown(Duration::from_secs(5)).await?;
    if (came, sum.0) == (size, expected.0) { Ok(()) } else { Err("the file came back changed".into()) }
}

/// A file as a stream of blocks. It is read as fast as the child takes it.
fn blocks_of(file: &Path) -> io::Result<Streaming<Vec<u8>>> {
    let file = File::open(file)?;
    Ok(Streaming::new(futures::stream::iter(std::iter::from_fn({
        let mut file = file;
        move || {
            let mut block = vec![0; BLOCK];
            // A file that cannot be read further ends the stream; its size will tell.
            let n = file.read(&mut block).ok().filter(|&n| n > 0)?;
            block.truncate(n);
            Some(block)
        }
    }))))
}

fn per_second(bytes: u64, took: Duration) -> u64 {
    (bytes as f64 / took.as_secs_f64()) as u64
}

/// FNV-1a of 64 bits.
struct Checksum(u64);

impl Checksum {
    fn new() -> Self {
        Checksum(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8], turn: impl Fn(u8) -> u8) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(turn(byte))).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The most memory that this process ever had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Removed when dropped.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn of(size: usize) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("panpipe-pipeline-{}", std::process::id()));
        let file = TemporaryFile(path);
        let mut to = File::create_new(&file.0)?;
        let mut seed = 1u64;
        for _ in 0..size / BLOCK {
            let block: Vec<u8> = (0..BLOCK / 8)
                .flat_map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    seed.to_le_bytes()
                })
                .collect();
            to.write_all(&block)?;
        }
        Ok(file)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
