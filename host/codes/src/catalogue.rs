//! The table of codes, in the order of their numbers.
//!
//! One entry: variant, number, slug, class, title, cause, remedy. Titles are lower-case phrases that read well
//! after a slot number; remedies are orders to the person at the station. Numbers and slugs are stored in
//! records for years: add entries, never renumber, never reuse.

use crate::Class;

macro_rules! codes {
    ($($variant:ident = $number:literal $slug:literal $class:ident,
        $title:literal, $cause:literal, $remedy:literal;)*) => {
        /// A failure that a person may see. The discriminant is the number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Code {
            $(
                #[doc = concat!("`E", $number, " ", $slug, "`: ", $title, ".")]
                $variant = $number,
            )*
        }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The number after the `E`, 101 to 799.
            #[must_use]
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// The name after the number, for people and for searching.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug),* }
            }

            /// Number and slug, as `Display` writes them.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => concat!("E", $number, " ", $slug)),* }
            }

            /// Who has to act.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class),* }
            }

            /// What went wrong, one line, lower case without full stop.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// How it comes about, one or two sentences.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause),* }
            }

            /// What to do next, addressed to the operator.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),* }
            }
        }
    };
}

codes! {
    // E1xx: finding and identifying a board.

    BoardAbsent = 101 "board-absent" Station,
        "no board answers in this slot",
        "The slot is empty, the board is not seated, a power or bus contact is open, or the board never starts.",
        "Re-seat the board and clean the slot's pins; if a second board fails here too, have the slot repaired.";
    DuplicateUid = 102 "duplicate-uid" Board,
        "two boards report the same unique ID",
        "Two chips carry one unique ID, as copied or counterfeit chips do; the boards cannot be told apart safely.",
        "Take out every board named, keep them apart and send them to incoming inspection.";
    WrongChip = 103 "wrong-chip" Board,
        "the chip is not the one the job is for",
        "The device ID that the board reports differs from the job's target: another chip was fitted.",
        "Take the board out and check its assembly; if the whole panel is affected, check the job.";
    WrongHardwareRevision = 104 "wrong-hardware-revision" Board,
        "the board's hardware revision is not in the job's list",
        "The board reports a hardware revision that this release was not made for.",
        "Sort the board out by its revision and run it with the job for that revision.";
    AlreadyProtected = 105 "already-protected" Board,
        "the board is already locked against reading",
        "Readout protection is set: the board has been programmed and locked before, or was locked by mistake.",
        "Look the board up in the records; if it must be programmed again, use `panelflash recover`, which erases it.";
    SupplyLow = 106 "supply-low" Station,
        "the board's supply is below the job's minimum",
        "The board measures too low a supply: weak power source, worn supply contact, or a board that draws too much.",
        "Clean the slot's power pins and check the supply; if only this board is low in another slot too, repair it.";
    ImplausibleUid = 107 "implausible-uid" Board,
        "the unique ID cannot be a real one",
        "The ID read is blank, all ones or of a pattern no chip has: a counterfeit chip or a wrong register address.",
        "Keep the board apart and report the ID shown; do not ship it.";
    ProtocolVersion = 108 "protocol-version" Board,
        "the board's bootloader speaks no version that this program speaks",
        "The bootloader or agent on the board is older or newer than the range of versions supported.",
        "Update panelflash, or give the board a current bootloader over its ROM with `panelflash recover`.";
    SlotBinding = 109 "slot-binding" Station,
        "it is not certain which board sits in this slot",
        "An address strap is not one of this panel, or two boards answer on one strap or select line.",
        "Check the straps and select lines of the slots named; nothing was written to these boards.";
    DoesNotFit = 110 "does-not-fit" Board,
        "the image does not fit the flash that this board reports",
        "The board's flash is smaller than the chip's full size, or its bootloader keeps more of it than planned.",
        "Check the chip's marking against the parts list; if it is right, correct the image or the job.";
    Rebound = 111 "rebound" Station,
        "another board is in the slot than the one identified",
        "The board was exchanged or its contact opened between identification and the last proof of the slot.",
        "Do not move boards during a run; close the fixture and run the panel again.";
    NotSealed = 112 "not-sealed" Board,
        "the board takes only sealed images, and this one has no seal",
        "The bootloader has its product's public key; the job has no [seal], or the release was packed without a seal.",
        "Run the release that was sealed for this product; a developer gives the job a [seal] with the product's key.";
    BadSeal = 113 "bad-seal" Board,
        "the image's seal is not one of this board's product",
        "The signature was made with another key than the one in the bootloader, or over another image or chip.",
        "Check that job or release belongs to this product; the board still has what it had.";
    Downgrade = 114 "downgrade" Board,
        "the board takes no image as old as this one",
        "A newer release that was put on this board forbids going back behind the counter shown.",
        "Run a release with that counter or a higher one; the board still has what it had.";

    // E2xx: the board's flash.

    EraseFailed = 210 "erase-failed" Board,
        "a flash unit could not be erased",
        "The flash controller reported an error or the unit is not blank after erasing: worn or defective flash.",
        "Run the board once more; if it fails again, replace the chip.";
    EraseTooSlow = 211 "erase-too-slow" Board,
        "erasing took longer than the datasheet allows",
        "The flash is worn or defective, or the supply is too low for the chip's erase.",
        "Check the supply, run the board once more; if it fails again, replace the chip.";
    WriteProtected = 212 "write-protected" Board,
        "the area to be written is write-protected",
        "Option bytes protect a sector that the image needs: the board was set up before.",
        "Look the board up in the records; lift the protection with `panelflash recover` if it must be programmed.";
    ProgramFailed = 214 "program-failed" Board,
        "a flash cell could not be programmed",
        "The flash controller reported an error at the address shown: a defective cell or a supply that dips.",
        "Run the board once more; if it fails at the same address, replace the chip.";
    ProgramTooSlow = 215 "program-too-slow" Board,
        "programming took longer than the datasheet allows",
        "The flash is worn or defective, or the supply is too low for the program width in use.",
        "Check the supply, run the board once more; if it fails again, replace the chip.";
    VerifyMismatch = 216 "verify-mismatch" Board,
        "the flash reads back different from the release",
        "A cell took a wrong value or loses it; the check reads the flash itself, not the data received.",
        "Run the board once more; if it fails again, replace the chip. Never ship it as it is.";
    CommitFailed = 217 "commit-failed" Board,
        "the image could not be marked valid",
        "The image is verified, but the last mark that lets it start could not be written or read back.",
        "Run the board once more; if it fails again, replace the chip. The board does not start the image.";
    RecordAreaFailed = 218 "record-area-failed" Board,
        "the bootloader's record area does not work",
        "The erase unit where the board keeps its image records cannot be erased or programmed.",
        "Replace the chip: the board cannot keep its state through a power cut.";
    SignatureRefused = 219 "signature-refused" Board,
        "the board's bootloader refuses the image's signature",
        "The bootloader checks the signature itself and holds another key, or the release is not signed for it.",
        "Check that the bootloader on the board belongs to this product; the image was not started.";
    DowngradeRefused = 220 "downgrade-refused" Board,
        "the board holds a newer release and refuses the older one",
        "The bootloader's release counter is higher than this release's and the release forbids going back.",
        "Use the current release, or ask for a release that may replace the newer one.";
    ReadFailed = 221 "read-failed" Board,
        "memory that should be readable is not",
        "A read-back was refused or answered with an error, for example an uncorrectable ECC error of the flash.",
        "Run the board once more; if it fails again, replace the chip.";
    NotInstalled = 222 "not-installed" Board,
        "the board did not bring its new image from the second slot to its place",
        "The image is committed in the second slot, but erasing and programming its place took far longer than its flash needs.",
        "Run the board once more: it begins again with the image that it has; if it fails again, replace the chip.";

    // E3xx: a board on the bus.

    BoardSilent = 301 "board-silent" Board,
        "the board stopped answering",
        "It answered before and then did not, in the step shown: it lost power, crashed or its contact opened.",
        "Re-seat the board and run it again; if it stops in the same step, send it to repair.";
    BoardReset = 302 "board-reset" Board,
        "the board restarted in the middle of the run",
        "The supply browned out, a watchdog fired or NRST was pulled; the cause that the chip reports is shown.",
        "Check the slot's supply and NRST contacts and run the board again.";
    SilentAfterErase = 303 "silent-after-erase" Board,
        "the board fell silent when its flash was erased",
        "Its code was in the erased area or does not run from RAM, or the supply collapsed under the erase current.",
        "Recover the board through its ROM with `panelflash recover`; check its bootloader version and supply.";
    Babbling = 304 "babbling" Board,
        "the board flooded the bus and was switched off",
        "The board sends without being asked; the fixture cut its slot so that the others could go on.",
        "Take the board out and send it to repair; do not put it back on a shared bus.";
    BoardBusOff = 305 "board-bus-off" Board,
        "the board's CAN controller went off the bus",
        "Its transmissions keep failing: damaged transceiver, wrong crystal or a bad CAN contact of this slot.",
        "Clean the slot's CAN pins and run the board again; if it recurs, check transceiver and crystal.";
    ReceptionPoor = 306 "reception-poor" Board,
        "the board misses too many frames",
        "It asks for more repeats than the job allows while others hear the bus well: contact, crystal or termination.",
        "Clean the slot's CAN pins and run the board again; if it recurs, check transceiver and crystal.";
    ReceiveOverrun = 307 "receive-overrun" Board,
        "the board's receive buffer overflows too often",
        "Its firmware serves the CAN controller too slowly: another clock, an old bootloader or a stalled flash.",
        "Check the bootloader's version on this board and its crystal, then run it again.";
    ProtocolError = 308 "protocol-error" Board,
        "the board's answer makes no sense",
        "An answer is malformed or does not belong to the step: a damaged bootloader or foreign firmware.",
        "Run the board again; if it recurs, give it a fresh bootloader with `panelflash recover`.";
    Refused = 309 "refused" Board,
        "the board refused a command",
        "The bootloader gives the reason shown, for example a range that it protects or a wrong order of steps.",
        "Note the reason shown and check the job's addresses against this bootloader; then run the board again.";
    ApplicationNotStarted = 310 "application-not-started" Board,
        "the application did not start",
        "The board is programmed and verified but stays in the bootloader or falls silent after the start command.",
        "Check that the release is built for this board; the flash holds exactly what the release says.";
    Straggler = 311 "straggler" Board,
        "the board did not finish within its time",
        "It is alive and makes progress, but slower than the time that the job gives to stragglers.",
        "Run the board again by itself; if it is slow again, check its crystal and supply.";

    // E4xx: the station and its fixture.

    LinkDown = 401 "link-down" Station,
        "the link to the boards went down",
        "The CAN interface or adapter was taken down, unplugged or failed during the run.",
        "Plug the adapter in and bring the interface up, run `panelflash doctor`, then run the panel again.";
    BusDead = 402 "bus-dead" Station,
        "nobody acknowledges on the bus",
        "No board is powered, the bus is open or shorted, termination is missing, or the bit rates differ.",
        "Check that the fixture is closed and powered, then cable, termination and bit rate.";
    TransmitStuck = 403 "transmit-stuck" Station,
        "frames do not leave the transmit queue",
        "The queue stayed full beyond its time: the bus is blocked or the adapter hangs.",
        "Unplug and replug the adapter, run `panelflash doctor`, then run the panel again.";
    FixtureFault = 404 "fixture-fault" Station,
        "a fixture line could not be switched or read",
        "A relay board, GPIO chip or port of the fixture does not answer or reads back a wrong level.",
        "Check the fixture's cable and supply and run `panelflash doctor`.";
    RecordStore = 405 "record-store" Station,
        "the records could not be written",
        "The database refused a write in the run: disk removed, damaged or read-only, file gone. No board passes unrecorded.",
        "Free or replace the disk; run the panel again, units in doubt are resolved by reading the boards.";
    BusDisturbed = 406 "bus-disturbed" Station,
        "too many error frames on the bus",
        "Noise, a wrong bit rate of a node, missing termination or a damaged transceiver disturbs every frame.",
        "Check termination and cable; power slots one group at a time to find the disturber.";
    Interrupted = 407 "interrupted" Station,
        "the run was interrupted",
        "The operator or the system stopped the program; the boards were switched off and the record is complete.",
        "Run the panel again; boards that had passed stay passed.";
    BusBitRate = 408 "bus-bit-rate" Station,
        "the interface's bit rate is not the panel's",
        "The CAN interface is set to another nominal or data bit rate than panel.toml says.",
        "Set the bit rate as the message shows, or correct panel.toml.";
    StationClock = 409 "station-clock" Station,
        "the station's clock is wrong",
        "The clock is earlier than the last record, so times and date limits cannot be trusted.",
        "Set the clock or its time source, then start again.";
    DiskNearlyFull = 410 "disk-nearly-full" Station,
        "the disk has too little room for this panel's record",
        "Less space is free than one whole panel may need: refused before it starts. In a run: full in spite of the room kept.",
        "Free disk space or move the records with `--records`, then start again; units in doubt are read by the next run.";
    DatabaseNewer = 411 "database-newer" Station,
        "the database was written by a newer version",
        "Its format is newer than this program knows; it was not opened for writing.",
        "Use the panelflash version that wrote it, or another `--records` directory.";
    DatabaseCorrupt = 412 "database-corrupt" Station,
        "the database is damaged",
        "Its integrity check fails: disk error, or a file changed from outside.",
        "Keep the file for analysis, restore the last backup and tell the person in charge of records.";
    StationBusy = 413 "station-busy" Station,
        "another run is using this station",
        "Another program holds the records, the ledger or the links of this panel, or keeps a database locked in a run.",
        "Wait for the other run to end, or stop the program that has the database open; then run the panel again.";
    StationBusOff = 414 "station-bus-off" Station,
        "the station's CAN controller went off the bus",
        "Its transmissions keep failing: shorted bus, wrong bit rate or missing termination.",
        "Check cable, termination and bit rate, bring the interface up again and run the panel again.";
    BusFlooded = 415 "bus-flooded" Station,
        "frames that are not ours take too much of the bus",
        "Another program or a device that does not belong to the panel sends on this bus.",
        "Stop the other program or unplug the device; use a bus of its own for the panel.";
    StationOverrun = 416 "station-overrun" Station,
        "the station lost received frames",
        "The adapter or the kernel dropped frames because the program was not served in time.",
        "Stop other heavy programs on this computer; use another USB port or adapter if it recurs.";
    LinkMissing = 417 "link-missing" Station,
        "the link named in panel.toml does not exist or cannot be opened",
        "The interface or device is absent, misspelt, of another kind, or this user may not open it.",
        "Check the cable and the name in panel.toml and run `panelflash doctor`, which says what is missing.";
    InterlockOpen = 418 "interlock-open" Station,
        "the fixture is open",
        "The interlock input says that the lid or press is open; an open fixture cuts the power of all slots.",
        "Close the fixture and start again; boards that were running are resolved by reading them.";
    Internal = 499 "internal" Station,
        "panelflash broke one of its own rules",
        "A defect of the program, caught before it could do harm; boards were switched off.",
        "Keep the record directory and report it with the message shown.";

    // E5xx: files and command line.

    JobFile = 501 "job-file" Usage,
        "the job file is not valid",
        "A key is unknown, missing or has a value that is not allowed; line and column are shown.",
        "Correct the line shown; docs/job-files.md lists every key.";
    PanelFile = 502 "panel-file" Usage,
        "the panel file is not valid",
        "A key is unknown, missing or contradicts another, such as two slots at one place; the lines are shown.",
        "Correct the lines shown; docs/job-files.md lists every key.";
    ScenarioFile = 503 "scenario-file" Usage,
        "the scenario file is not valid",
        "A key, a fault name or a slot is unknown or out of range; line and column are shown.",
        "Correct the line shown.";
    ImageFile = 504 "image-file" Usage,
        "an image file cannot be understood",
        "The file is truncated, damaged or of another format; the line or offset is shown.",
        "Build or copy the file again and compare its size and hash.";
    ImageOverlap = 505 "image-overlap" Usage,
        "two images claim the same addresses",
        "Regions of one or several files overlap with different data.",
        "Correct the address in the job or the linker script of the file shown.";
    ImageOutsideFlash = 506 "image-outside-flash" Usage,
        "an image has data outside the chip's flash",
        "An address is not in the target's flash: wrong chip in the job, wrong address, or RAM sections in the file.",
        "Check the target and the address in the job against the linker script.";
    ImageTooLarge = 507 "image-too-large" Usage,
        "an image is larger than the chip's flash",
        "The data starts inside the flash and ends beyond it.",
        "Check the target in the job; use a smaller image or a larger chip.";
    ImageWrongChip = 508 "image-wrong-chip" Usage,
        "the image is built for another chip",
        "Its vector table, machine type or declared target does not fit the job's target.",
        "Check that the right file was built and that the job names the right target.";
    DuplicateSlot = 509 "duplicate-slot" Usage,
        "the panel file defines a slot twice",
        "Two entries have the same number, place, strap or port; both lines are shown.",
        "Give each slot its own number, place, strap and port.";
    RecordsUnwritable = 510 "records-unwritable" Usage,
        "the record directory cannot be written",
        "It does not exist and cannot be made, or this user may not write to it.",
        "Choose another directory with `--records`, or correct its permissions.";
    Usage = 511 "usage" Usage,
        "the command line is not valid",
        "An option is unknown, missing, or does not go with the others.",
        "Run the command with `--help`.";
    ImageEmpty = 512 "image-empty" Usage,
        "there is nothing to program",
        "The images hold no data, or only blank data.",
        "Check that the right file was built.";
    FileUnreadable = 513 "file-unreadable" Usage,
        "a file cannot be read",
        "It does not exist, is a directory, or this user may not read it.",
        "Check the path; paths in a job file are relative to the job file.";
    ImageReservedArea = 514 "image-reserved-area" Usage,
        "an image touches an area that must not be overwritten",
        "It covers the bootloader, its record unit or the identity region.",
        "Correct the address in the job or the linker script.";
    WayNotOffered = 515 "way-not-offered" Usage,
        "the panel does not offer the way that the job asks for",
        "The job allows only ways that panel.toml gives to none of its buses or slots.",
        "Use the panel file of this fixture, or correct `ways` in the job.";
    OutputFile = 516 "output-file" Usage,
        "an output file cannot be written",
        "The directory does not exist, is not writable or full, or the file is there and may not be replaced.",
        "Choose another path, remove the old file or free space; `report` shows what was recorded of a run.";
    Description = 517 "description" Usage,
        "the description of what to pack is not valid",
        "A key of the TOML file is unknown, missing or has a value that is not allowed; the line is shown.",
        "Correct the line shown; docs/engineer-guide.md lists every key.";
    StationFile = 518 "station-file" Usage,
        "the station file is not valid",
        "A key of station.toml is unknown, missing or has a value that is not allowed; the line is shown.",
        "Correct the line shown; docs/engineer-guide.md lists every key.";
    KeyFile = 519 "key-file" Usage,
        "a key file cannot be used",
        "It is no key of the kind that is needed here.",
        "Give the right file; `panelflash release key --help` says which kinds there are.";

    // E6xx: release, order, identity and protection.

    ReleaseUnsigned = 601 "release-unsigned" Usage,
        "the release has too few valid signatures",
        "The release carries no signature or fewer than its policy asks for; production jobs refuse it.",
        "Have the release signed by the persons in charge; use a developer job for trials.";
    ReleaseSignature = 602 "release-signature" Usage,
        "a signature of the release is wrong",
        "The release was changed after signing, or signed with a key that is not trusted here.",
        "Fetch the release again from its owner; report it if it recurs.";
    ReleaseExpired = 603 "release-expired" Usage,
        "the release has expired",
        "Its expiry date is past, or the station's clock is wrong.",
        "Check the clock; ask the owner for a current release.";
    ReleaseRevoked = 604 "release-revoked" Usage,
        "the release has been revoked",
        "Its owner has withdrawn it with a signed list.",
        "Stop using it and ask the owner for its successor.";
    ReleaseDowngrade = 605 "release-downgrade" Usage,
        "the release is older than one already used",
        "Its release counter is below what this station has programmed, or what the owner's root document asks for.",
        "Use the newer release; the message has its lowest counter. Only the owner can sign an old state as a new one.";
    ReleaseDamaged = 606 "release-damaged" Usage,
        "the release file is damaged",
        "A hash, size or checksum does not agree with its content.",
        "Copy the file again and compare its hash with the owner's.";
    ReleaseDebug = 607 "release-debug" Usage,
        "the release is a debug build",
        "Production jobs take production builds only.",
        "Ask for a production build; use a developer job for trials.";
    ReleaseTarget = 608 "release-target" Usage,
        "the release is not for this chip or hardware",
        "The job's target or hardware revision is not in the release's list.",
        "Choose the release for this product; check the job's target.";
    ReleaseUnsafe = 609 "release-unsafe" Usage,
        "the release file contains something that is never accepted",
        "A path that leads outside, an entry beyond its stated size, or data that unpacks without end.",
        "Do not use the file; report it to its owner.";
    ReleaseNewer = 610 "release-newer" Usage,
        "the release has a format that this program does not know",
        "It was packed by a newer version.",
        "Update panelflash.";
    ReleaseRoot = 611 "release-root" Usage,
        "the chain of trusted keys is broken",
        "A root document is missing, has expired, is older than the file needs, or is not signed by the keys before it.",
        "Fetch the root documents from the owner by a trusted way; take them over with `panelflash station root`.";
    ReleaseEncrypted = 612 "release-encrypted" Usage,
        "the release cannot be decrypted at this station",
        "It is encrypted to other stations' keys, or this station's key is missing.",
        "Ask the owner to encrypt the release to this station's key.";
    OrderFile = 620 "order-file" Usage,
        "the work order is not valid",
        "It is malformed, contradictory, or names blocks that overlap those of another order.",
        "Ask for a corrected order; the message says which field.";
    OrderSignature = 621 "order-signature" Usage,
        "the work order's signature is wrong",
        "It was changed after signing, or signed with a key that is not trusted here.",
        "Fetch the order again from its owner; report it if it recurs.";
    OrderDate = 622 "order-date" Usage,
        "the work order is not valid today",
        "Its date window has not begun or has ended, or the station's clock is wrong.",
        "Check the clock; ask for an order with the right dates.";
    OrderStation = 623 "order-station" Usage,
        "the work order is for another station",
        "This station's id is not in the order's list.",
        "Run the order at the station it names.";
    OrderRelease = 624 "order-release" Usage,
        "the work order selects no release, or more than one",
        "No candidate fits product, version and hashes of the order, or several do; each one's reason is shown.",
        "Put the right release in place as the message says; never choose a file by hand.";
    QuotaExhausted = 625 "quota-exhausted" Usage,
        "the work order's quantity is used up",
        "As many chips have been started as were ordered; a chip started before may still be run again.",
        "Check `panelflash ledger balance`; ask the owner for a further order.";
    OrderRevoked = 626 "order-revoked" Usage,
        "the work order was withdrawn",
        "The owner's root document names it among the revoked orders.",
        "Put the order aside, whatever is left of it; ask the owner for its successor.";
    OrderUnsigned = 627 "order-unsigned" Usage,
        "the work order has too few valid signatures",
        "It carries no signature, or fewer than the owner's root document asks for.",
        "Have the order signed by the persons in charge; nothing can be made from a draft.";
    IdentityDuplicate = 630 "identity-duplicate" Board,
        "the identity belongs to another unit",
        "Two chips would carry one number, or one chip two: a copied chip, or a ledger from elsewhere.",
        "Keep every unit named apart; nothing may ship until the owner has decided.";
    IdentityExhausted = 631 "identity-exhausted" Usage,
        "no serial number or address is left",
        "The block given in the order is used up; a void number is never given again.",
        "Ask the owner for a further block.";
    IdentityInDoubt = 632 "identity-in-doubt" Station,
        "it is not known whether the identity was written",
        "The station stopped between sending the identity and recording it.",
        "Run the board again: the chip itself is read and decides.";
    IdentityWriteFailed = 633 "identity-write-failed" Board,
        "the identity could not be written",
        "The identity region cannot be erased or programmed, or is used-up one-time memory.",
        "Run the board once more: it gets the same identity; if it fails again, replace the chip.";
    IdentityMismatch = 634 "identity-mismatch" Board,
        "the identity reads back different",
        "The region holds other data than was written.",
        "Run the board once more: it gets the same identity; if it fails again, replace the chip.";
    IdentityForeign = 635 "identity-foreign" Board,
        "the board carries an identity that the ledger does not know",
        "The board was personalised elsewhere, or the ledger is incomplete.",
        "Import the other station's ledger, or keep the board apart.";
    Certificate = 636 "certificate" Usage,
        "a key or certificate is malformed",
        "The issuer's certificate, a link of its chain or its key does not parse, does not belong together, or is not valid now.",
        "Correct the file that the message names; it says which certificate of it, and what is wrong.";
    BoardKey = 637 "board-key" Board,
        "the board could not make its key",
        "Its key generation said that it failed, never came back, or left no certificate request to read.",
        "Run the board once more; if it fails again, send it to repair.";
    LedgerBroken = 638 "ledger-broken" Station,
        "the identity ledger fails its check",
        "It was removed, entries are missing or changed, an older copy was put back, or the disk is damaged.",
        "Stop production at this station and tell the owner; do not repair it by hand.";
    LedgerUnbalanced = 639 "ledger-unbalanced" Station,
        "the ledger does not add up",
        "Ordered differs from passed, failed, scrapped, in doubt and remaining together; the difference is shown.",
        "Find the units named and account for them before further production.";
    Quarantined = 640 "quarantined" Board,
        "the unit is in quarantine",
        "It did not pass in as many runs as its order allows, or a person holds it or has scrapped it; the message says which.",
        "Keep it apart: `panelflash quarantine list` says why; a lead repairs and releases it (`quarantine release`), or scraps it.";
    RetestsUsedUp = 641 "retests-used-up" Board,
        "the unit has used up its retests",
        "It had trouble of one class (contact, station, board) in more runs than its order allows after the first.",
        "Keep it apart; a lead releases it with a reason (`panelflash quarantine release`) or permits one more run (`--permit`).";
    UnitVoid = 642 "unit-void" Board,
        "the unit was taken out for ever",
        "Its identity is void in the ledger: its numbers are never written again, into this chip or another.",
        "Scrap the board, or run it under a work order, which makes a new unit of it.";
    UnitUnknown = 643 "unit-unknown" Board,
        "the ledger has no unit for this chip",
        "The board never got an identity under these records, or the ledger is another station's.",
        "Look at the directory of the records; a board that was never made is run under its work order, not recovered.";
    KeyRequest = 645 "key-request" Board,
        "the board's certificate request is not acceptable",
        "It is malformed, signed with another key, for another unit, or for a key of another kind.",
        "Run the board once more; if it fails again, correct the firmware that makes the request.";
    OptionBytesFailed = 660 "option-bytes-failed" Board,
        "the option bytes could not be set",
        "The chip refused them, or they read back different after the reset.",
        "Run the board once more; if it fails again, replace the chip.";
    LockFailed = 661 "lock-failed" Board,
        "the readout protection could not be set",
        "The chip refused the protection or reports another level after its reset.",
        "Run the board once more; never ship it unlocked.";
    LockNotProven = 662 "lock-not-proven" Board,
        "the board's lock is not proven",
        "After locking, the board still let memory be read, or did not answer the questions that prove the lock.",
        "Run the board once more; never ship it without the proof.";
    LockConsent = 663 "lock-consent" Usage,
        "a lock that lasts for ever needs a second consent",
        "Level 2 or a locked state cannot be undone; the release carries no second signature for it.",
        "Ask the owner for the second signature, or use level 1.";

    // E7xx: ROM bootloader and its ports.

    RomNoSync = 701 "rom-no-sync" Station,
        "the ROM bootloader does not answer",
        "Boot pins or reset are not as needed, RX and TX are crossed, the board has no power or starts its application.",
        "Set the boot pins as the message says, check power, ground, RX and TX, reset the board and try again.";
    RomParityMissing = 702 "rom-parity-missing" Station,
        "the port does not send even parity",
        "The chip answers the first byte and then no command: the adapter or its driver ignores the parity setting.",
        "Use an adapter that can do 8 data bits with even parity.";
    RomRefused = 703 "rom-refused" Board,
        "the ROM bootloader refused a command",
        "It answered NACK in the step shown: a protected or invalid address, or a command this chip lacks.",
        "Note the step and check the addresses; see `panelflash rom info` for what this chip allows.";
    RomUnknownChip = 704 "rom-unknown-chip" Board,
        "the chip's product ID is not in the table",
        "A new or foreign chip.",
        "Check the chip's marking; give its properties with `--force-device` if you are sure, or update panelflash.";
    RomProtected = 705 "rom-protected" Board,
        "the chip is protected against reading",
        "Readout protection is active; lifting it erases the whole chip.",
        "Look the board up in the records; `panelflash recover` lifts the protection and programs it again.";
    RomSilent = 706 "rom-silent" Board,
        "the ROM bootloader stopped answering",
        "It answered before and then did not, in the step shown: power, reset or cable failed, or bytes were lost.",
        "Check cable and power and start again: a half-written board can be recovered.";
    RomAnswer = 707 "rom-answer" Board,
        "the ROM bootloader's answer makes no sense",
        "Bytes were lost or disturbed, the rate is too high for the chip, or it is not an STM32 ROM.",
        "Use a lower rate and a shorter cable, and start again.";
    RomNoConsent = 708 "rom-no-consent" Usage,
        "the step would destroy what is on the chip",
        "Erasing or lifting the protection needs a yes from a person, and none was given.",
        "Answer yes, or give `--yes` when the chip's content may be lost.";
    RomUnsupported = 709 "rom-unsupported" Usage,
        "this chip's ROM cannot do that",
        "The command is not in the list that the chip reports, or is known to be broken in this ROM version.",
        "Use another way that the message names, or another interface of the chip.";
    RomPowerCycle = 710 "rom-power-cycle" Station,
        "the board must be powered off and on",
        "Some chips look at their flash or option bytes only when power comes up, and the fixture cannot switch it.",
        "Switch the board's power off and on, then go on.";
    RomWriteProtected = 711 "rom-write-protected" Board,
        "flash stays as it was although the chip says it was written",
        "The sector is write protected: the ROM bootloader acknowledges such writes and does nothing.",
        "Lift the protection with `panelflash rom unprotect --write`, or answer yes when `panelflash recover` asks.";
    RomFinished = 712 "rom-finished" Station,
        "a locked board where the records have a finished one",
        "A unit of this slot of this panel has passed and proved its lock; a locked chip says no UID, so that only its label tells whether it is this one.",
        "If the label says that it is the unit named, it is done: take it out. If not, look it up by its label before `panelflash recover` erases it.";
    PortBusy = 720 "port-busy" Station,
        "the port is in use",
        "Another program has the port open.",
        "Close the other program; a modem manager may have to be told to leave the port alone.";
    PortGone = 721 "port-gone" Station,
        "the port disappeared",
        "The adapter was unplugged or its USB connection failed during the work.",
        "Plug the adapter in again and start again: a half-written board can be recovered.";
    PortMissing = 722 "port-missing" Station,
        "the port does not exist or cannot be opened",
        "The adapter is not plugged in, the path is wrong, or this user may not open it.",
        "Check cable and path; run `panelflash doctor`, which names the missing permission.";
    PortUnstable = 723 "port-unstable" Usage,
        "the port's name may point to another slot tomorrow",
        "Names such as /dev/ttyUSB0 follow the order of plugging; production jobs need a path that stays.",
        "Use the path under /dev/serial/by-path in panel.toml.";
    PortRate = 724 "port-rate" Station,
        "the port cannot be set up as needed",
        "The adapter refuses the baud rate, the parity or a control line.",
        "Use another rate or another adapter.";
    AgentNotStarted = 730 "agent-not-started" Board,
        "the RAM agent did not come up",
        "It was loaded through the ROM and started, and then did not answer on the bus.",
        "Check crystal and CAN contact of this slot and run the board again.";
}
