-- The vault's database, version 2 (PRAGMA user_version). Read by people first; libvault/store is its only user.
--
-- Nothing in here is believed before the manifest MAC of its stage has been checked with a key that only the TPM gives.
-- What `list`, `show` and `status` print is therefore "unverified".

-- One row: what the vault is and where its TPM is.
CREATE TABLE vault (
  only_row     INTEGER PRIMARY KEY CHECK (only_row = 1),
  id           BLOB    NOT NULL,  -- 16 random bytes
  created      INTEGER NOT NULL,  -- Unix seconds
  tpm          TEXT    NOT NULL,  -- transport name (tpm/transport.hpp); never "cmd:"
  storage_root BLOB    NOT NULL,  -- serialised reference, pins the key's Name
  counter      BLOB    NOT NULL,  -- serialised reference of the epoch counter; empty: made without rollback protection
  register     BLOB    NOT NULL   -- serialised reference of the stage register; empty like the counter
) STRICT;

-- A complete state of all authority, good for one epoch. At most two: the current one, and during a barrier the one
-- that will replace it. A pending stage that is durable is the truth: recovery only rolls forward.
CREATE TABLE stage (
  epoch          INTEGER PRIMARY KEY,
  state          TEXT    NOT NULL UNIQUE CHECK (state IN ('current', 'pending')),
  generation     INTEGER NOT NULL,  -- of the master key: changes with every rotation
  sequence       INTEGER NOT NULL,  -- grows with every change of the manifest
  sealed_public  BLOB    NOT NULL,  -- the sealed master key (TPM2B_PUBLIC, TPM2B_PRIVATE)
  sealed_private BLOB    NOT NULL,
  pin_salt       BLOB    NOT NULL,  -- scrypt salt of the TPM auth value; empty: the key is sealed without a PIN
  pcrs           TEXT    NOT NULL,  -- "sha256:0,7": the registers the key is bound to; empty: none
  pcr_digest     BLOB    NOT NULL,  -- what they held
  counter_key    BLOB    NOT NULL,  -- P-256 key that may write counter and register: AES-256-GCM under the master key
  recovery_salt  BLOB    NOT NULL,  -- scrypt salt of the recovery passphrase; empty: none is set
  recovery_key   BLOB    NOT NULL,  -- what the passphrase stretches to: AES-256-GCM under the master key
  entered_after  BLOB    NOT NULL,  -- what the stage register held before this stage was entered there
  previous       BLOB    NOT NULL,  -- SHA-256 of the manifest that this one succeeds; empty for the first
  mac            BLOB    NOT NULL   -- HMAC-SHA-256 over the manifest (schemas/manifest.md)
) STRICT;

CREATE TABLE credential (
  epoch   INTEGER NOT NULL REFERENCES stage (epoch) ON DELETE CASCADE,
  id      BLOB    NOT NULL,  -- 16 random bytes
  name    TEXT    NOT NULL,
  version INTEGER NOT NULL,  -- grows when the secret or the binding is replaced
  binding TEXT    NOT NULL,  -- JSON (schemas/binding.md): where the secret may go and how
  secret  BLOB    NOT NULL,  -- AES-256-GCM; vault id, id, name, version and binding are associated data
  created INTEGER NOT NULL,  -- Unix seconds
  changed INTEGER NOT NULL,
  PRIMARY KEY (epoch, name)
) STRICT;

-- Agents that get nothing until they are readmitted.
CREATE TABLE revocation (
  epoch INTEGER NOT NULL REFERENCES stage (epoch) ON DELETE CASCADE,
  agent TEXT    NOT NULL,
  PRIMARY KEY (epoch, agent)
) STRICT;

-- What agents may do (schemas/policy.md): the policy that was applied to the vault, and project files that were trusted,
-- each for one agent. The text itself is kept: whoever edits the file afterwards changes nothing.
CREATE TABLE policy (
  epoch INTEGER NOT NULL REFERENCES stage (epoch) ON DELETE CASCADE,
  path  TEXT    NOT NULL,  -- canonical path of the trusted file; empty: the applied one
  agent TEXT    NOT NULL,  -- for whom it is trusted; empty: the applied one, which is for all
  text  TEXT    NOT NULL,
  PRIMARY KEY (epoch, path, agent)
) STRICT;

-- What `revoke` wants done and could not do yet. Not under the MAC, so that it needs no key: it can only take away. Every
-- opener turns it into a barrier before it grants anything.
CREATE TABLE intent (
  kind    TEXT NOT NULL CHECK (kind IN ('revoke-agent', 'rotate')),
  subject TEXT NOT NULL,  -- the agent's name; empty for rotate
  PRIMARY KEY (kind, subject)
) STRICT;

-- One row while running sessions may not have heard of the newest policies: whoever opens the vault next tells them. Not
-- under the MAC: what a session is told has one of its own.
CREATE TABLE unannounced (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  epoch    INTEGER NOT NULL,
  sequence INTEGER NOT NULL
) STRICT;

-- What the last backup holds. Not under the MAC: it only decides which reminders are printed.
CREATE TABLE backed_up (
  credential BLOB    NOT NULL,
  version    INTEGER NOT NULL,
  PRIMARY KEY (credential, version)
) STRICT;
