//! A mockerfile, through the whole frontend, with every image at hand.

use kiln_mockerfile::Mockerfile;
use kiln_testing::Fixture;

pub(crate) fn run(bytes: &[u8]) {
    let fixture = Fixture::new().file("dockerfile", "Mockerfile.yaml", bytes.to_vec()).any_image();
    if let Err(error) = fixture.build(&Mockerfile) {
        assert!(!error.to_string().is_empty());
    }
}
