//! Makes Cargo notice new migrations, which `embed_migrations!` by itself does not.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
