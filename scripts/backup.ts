/**
 * Writes what a backup keeps of all accounts and conversations, or of one account, as lines of JSON:
 * `SLUICE_URL=https://… SLUICE_TOKEN=… npm run --silent backup [-- --account alice] > backup.jsonl`.
 */
import { readArguments } from './arguments.ts';
import { backupPath, callEdge, idsOf, stopWith } from './edge-calls.ts';

const USAGE = 'SLUICE_URL=https://… SLUICE_TOKEN=… npm run --silent backup [-- --account alice] > backup.jsonl';
const END = '["end",null]';
/** A conversation that is changed while it is read is read again. */
const TRIES = 5;

const { values } = readArguments(USAGE, { options: { account: { type: 'string' } } });

try {
  let accounts = 0;
  let conversations = 0;
  for await (const account of values.account === undefined ? idsOf('/accounts') : [values.account]) {
    process.stdout.write(`${await (await callEdge('GET', backupPath(account))).text()}\n`);
    accounts += 1;
    for await (const lines of conversationsOf(account)) {
      process.stdout.write(lines);
      conversations += 1;
    }
  }
  process.stdout.write(`${JSON.stringify({ type: 'backup_end', accounts, conversations })}\n`);
  console.error(`${accounts} accounts and ${conversations} conversations are in the backup.`);
} catch (thrown) {
  stopWith(thrown);
}

/** Yields the backup of each conversation, the oldest first: so the order stays in which they were made. */
async function* conversationsOf(account: string, parent?: string): AsyncGenerator<string> {
  const path = `/accounts/${encodeURIComponent(account)}/conversations${parent === undefined ? '' : `?parent=${parent}`}`;
  const ids: string[] = [];
  for await (const id of idsOf(path)) ids.push(id);
  for (const id of ids.reverse()) {
    const lines = await readWhole(account, id);
    if (lines === undefined) continue;
    yield `${JSON.stringify({ type: 'conversation_backup', account, id })}\n${lines}`;
    // Its runs may have called subagents, which have conversations of their own.
    yield* conversationsOf(account, id);
  }
}

/** @returns the lines of a conversation; undefined where it was deleted meanwhile */
async function readWhole(account: string, id: string): Promise<string | undefined> {
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const response = await callEdge('GET', backupPath(account, id), { taken: [404] });
    if (response.status === 404) return undefined;
    const lines = await response.text().catch(() => '');
    if (lines.trimEnd().endsWith(END)) return `${lines.trimEnd()}\n`;
  }
  throw new Error(`The conversation ${id} of ${account} could not be read whole. Begin the backup again.`);
}
