/**
 * Restores a backup in another deployment, or one account of it. Items that the deployment rejects are left out, and listed at
 * the end. Existing items stay unchanged, so the command may be repeated: `SLUICE_URL=https://… SLUICE_TOKEN=… npm run restore
 * [-- --account alice [--replace]] < backup.jsonl`.
 */
import { readArguments } from './arguments.ts';
import {
  backupPath,
  callEdge,
  describeFailure,
  groupBackupPath,
  requireTransferPlugin,
  stopWith,
  Unavailable,
  versionPath,
} from './edge-calls.ts';

/** The first line of an account, of a conversation, or of the end of the file. */
interface BackupHead {
  type: string;
  id: string;
  account?: string | null;
  kind?: string;
  version?: string;
  erased_at?: string;
  limits?: unknown;
  missing?: string[];
}

/** How many of each kind were restored. */
const done = { groups: 0, erasures: 0, versions: 0, accounts: 0, conversations: 0 };
/** The items that were not restored, each with the reason. */
const refused: string[] = [];
/** The conversations that are here already. They stay as they are. */
const left: string[] = [];
let head: BackupHead | undefined;
let lines: string[] = [];
let end: BackupHead | undefined;

const USAGE = 'SLUICE_URL=https://… SLUICE_TOKEN=… npm run restore [-- --account alice [--replace]] < backup.jsonl';
const { values } = readArguments(USAGE, { options: { account: { type: 'string' }, replace: { type: 'boolean' } } });
if (values.replace && values.account === undefined)
  stopWith(new Error(`--replace requires --account.\nUsage: ${USAGE}`));

await requireTransferPlugin().catch(stopWith);

const faults: string[] = [];
try {
  let number = 0;
  for await (const line of readBackupLines(process.stdin.setEncoding('utf8'))) {
    number += 1;
    if (line === '') continue;
    // A line that begins with `[` belongs to the conversation before. Any other line, even a damaged one, begins a new item.
    if (!line.startsWith('[')) {
      await sendRead();
      head = parseHead(line, number);
    }
    lines.push(line);
  }
  await sendRead();
  if (!end)
    faults.push(
      'The backup is incomplete, because its last line is missing. Its other lines were restored. Create a new backup, and restore it.',
    );
  const { missing = [] } = end ?? {};
  if (missing.length > 0)
    faults.push(
      `${countOf(missing, 'part is', 'parts are')} missing from the backup. To restore what is missing, create a new backup:`,
      ...missing,
    );
} catch (thrown) {
  faults.push(
    describeFailure(thrown),
    'The restore stopped there, and the rest was not sent. Fix the problem, and run the command again.',
  );
}
// Print the counts also after a failure, so that the user sees what was restored before it.
for (const [kind, number] of Object.entries(done)) console.log(`${kind}: ${number}`);
if (left.length > 0)
  console.log(`${countOf(left, 'item was', 'items were')} already stored and not changed: ${left.join(', ')}.`);
if (refused.length > 0) faults.unshift(`${countOf(refused, 'item was', 'items were')} not restored:`, ...refused);
if (values.account !== undefined && done.accounts === 0 && faults.length === 0)
  faults.push(`The backup does not contain the account ${values.account}.`);
if (faults.length > 0) stopWith(new Error(faults.join('\n')));

/** @returns how many rows there are, as the beginning of a sentence: `2 items were` */
function countOf(rows: readonly unknown[], one: string, several: string): string {
  return `${rows.length} ${rows.length === 1 ? one : several}`;
}

/** @returns what a line begins; what cannot be read is noted, and the lines behind it are left out */
function parseHead(line: string, number: number): BackupHead {
  try {
    return JSON.parse(line) as BackupHead;
  } catch {
    return { type: 'unreadable', id: `line ${number}` };
  }
}

/** Yields lines. (Those of `node:readline` end at U+2028 and U+2029 too, which messages may contain.) */
async function* readBackupLines(texts: AsyncIterable<string>): AsyncGenerator<string> {
  let parts: string[] = [];
  for await (const text of texts) {
    const pieces = text.split('\n');
    const rest = pieces.pop() ?? '';
    for (const end of pieces) {
      yield [...parts, end].join('');
      parts = [];
    }
    parts.push(rest);
  }
  yield parts.join('');
}

/** Sends what was read of one account or conversation. */
async function sendRead(): Promise<void> {
  const [first = '', ...rest] = lines;
  lines = [];
  if (head === undefined) {
    if (first !== '') throw new Error('This is not a backup. Pass the output of npm run backup.');
    return;
  }
  if (head.type === 'backup_end') {
    end = head;
    return;
  }
  if (!isWanted(head)) return;
  const what = describeHead(head);
  try {
    await restoreOne(head, what, first, rest);
    if (head.type !== 'conversation_backup' && rest.length > 0)
      refused.push(`the ${rest.length} lines after ${what}: the line that names their account is damaged`);
  } catch (thrown) {
    if (!(thrown instanceof Unavailable)) throw thrown;
    refused.push(`${what}: ${thrown.message}`);
  }
}

/** @returns whether a line is restored: with `--account` only what belongs to that account */
function isWanted({ type, id, account }: BackupHead): boolean {
  if (values.account === undefined || type === 'unreadable') return true;
  return (type === 'account_backup' ? id : account) === values.account;
}

function describeHead({ type, id, account, kind, version }: BackupHead): string {
  if (type === 'deployment_backup') return 'the limits of the deployment';
  if (type === 'group_backup') return `the group ${id}`;
  if (type === 'erasure') return `the erasure of ${account}`;
  if (type === 'account_backup') return `the account ${id}`;
  if (type === 'conversation_backup') return `the conversation ${id} of ${account}`;
  if (type === 'version_backup') return `the ${kind} ${version} of ${account ?? 'the deployment'}`;
  return type === 'unreadable' ? id : `a line of the type ${type}`;
}

/** @throws Unavailable for an item that the deployment rejects, or that is no backup */
async function restoreOne(head: BackupHead, what: string, first: string, rest: string[]): Promise<void> {
  const { type, id, account, kind, version, erased_at } = head;
  if (type === 'deployment_backup') await put('/pools/deployment/backup', first);
  else if (type === 'group_backup') {
    await put(groupBackupPath(id), first);
    done.groups += 1;
  } else if (type === 'erasure' && typeof account === 'string') {
    await put(`/accounts/${encodeURIComponent(account)}/erasure`, JSON.stringify({ erased_at }));
    done.erasures += 1;
  } else if (type === 'account_backup') {
    await put(backupPath(id) + (values.replace ? '?mode=merge' : ''), first);
    done.accounts += 1;
  } else if (type === 'conversation_backup' && typeof account === 'string') {
    const response = await put(backupPath(account, id), `${rest.join('\n')}\n`, 'application/jsonl', [409]);
    if (response.status === 409) await noteConflict(response, what);
    else done.conversations += 1;
  } else if (type === 'version_backup' && kind !== undefined && version !== undefined) {
    await put(versionPath(kind, version), first);
    done.versions += 1;
  } else if (type !== 'unreadable') throw new Unavailable('is not part of a Sluice backup, so it was skipped');
  else throw new Unavailable(`is not JSON${rest.length > 0 ? `, so the next ${rest.length} lines were skipped` : ''}`);
}

/** Records a conversation that is here already. @throws Unavailable for one that was erased with its account */
async function noteConflict(response: Response, what: string): Promise<void> {
  const text = await response.text();
  if (text.includes('cannot be restored')) throw new Unavailable(text);
  left.push(what);
}

async function put(path: string, body: string, type = 'application/json', taken: number[] = []): Promise<Response> {
  return await callEdge('PUT', path, { body, type, taken });
}
