/**
 * Writes what a backup keeps of all accounts and conversations, or of one account, as lines of JSON. What the edge does not
 * give is left out, and named at the end:
 * `SLUICE_URL=https://… SLUICE_TOKEN=… npm run --silent backup [-- --account alice] > backup.jsonl`.
 */
import { readArguments } from './arguments.ts';
import { backupPath, callEdge, idsOf, NotGiven, stopWith } from './edge-calls.ts';

const USAGE = 'SLUICE_URL=https://… SLUICE_TOKEN=… npm run --silent backup [-- --account alice] > backup.jsonl';
const END = '["end",null]';
/** A conversation that is changed while it is read is read again. */
const TRIES = 5;

const { values } = readArguments(USAGE, { options: { account: { type: 'string' } } });

const done = { accounts: 0, conversations: 0 };
const missing: string[] = [];

try {
  for await (const account of values.account === undefined ? idsOf('/accounts') : [values.account]) {
    const isGiven = await orMissing(`the account ${account}`, async () => {
      process.stdout.write(`${await (await callEdge('GET', backupPath(account))).text()}\n`);
      done.accounts += 1;
    });
    if (isGiven) await writeConversations(account);
  }
  process.stdout.write(`${JSON.stringify({ type: 'backup_end', ...done, missing })}\n`);
  console.error(`${done.accounts} accounts and ${done.conversations} conversations are in the backup.`);
  if (missing.length > 0) throw new Error(`These are not in it:\n${missing.join('\n')}`);
} catch (thrown) {
  stopWith(thrown);
}

/** Does a part of the backup, and notes it as missing where the edge does not give it. @returns whether it was given */
async function orMissing(what: string, work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (thrown) {
    if (!(thrown instanceof NotGiven)) throw thrown;
    missing.push(`${what}: ${thrown.message}`);
    return false;
  }
}

/** Writes the backup of each conversation, the oldest first: so the order stays in which they were made. */
async function writeConversations(account: string, parent?: string): Promise<void> {
  const path = `/accounts/${encodeURIComponent(account)}/conversations${parent === undefined ? '' : `?parent=${parent}`}`;
  const ids: string[] = [];
  const whose = parent === undefined ? account : `subagents of ${parent} of ${account}`;
  await orMissing(`the other conversations of ${whose}`, async () => {
    for await (const id of idsOf(path)) ids.push(id);
  });
  for (const id of ids.reverse()) {
    await orMissing(`the conversation ${id} of ${account}`, async () => {
      const lines = await readWhole(account, id);
      if (lines === undefined) return;
      process.stdout.write(`${JSON.stringify({ type: 'conversation_backup', account, id })}\n${lines}`);
      done.conversations += 1;
    });
    // Its runs may have called subagents, which have conversations of their own.
    await writeConversations(account, id);
  }
}

/** @returns the lines of a conversation; undefined where it was deleted meanwhile, or its first turn still runs */
async function readWhole(account: string, id: string): Promise<string | undefined> {
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const response = await callEdge('GET', backupPath(account, id), { taken: [404] });
    if (response.status === 404) return undefined;
    const lines = await response.text().catch(() => '');
    if (lines.trimEnd().endsWith(END)) return `${lines.trimEnd()}\n`;
  }
  throw new NotGiven('It could not be read whole.');
}
