/**
 * Has another deployment take up a backup. What it does not take is left out, and named at the end. What is there already stays
 * as it is, so it may be begun again:
 * `SLUICE_URL=https://… SLUICE_TOKEN=… npm run restore < backup.jsonl`.
 */
import { readArguments } from './arguments.ts';
import { backupPath, callEdge, NotGiven, sentenceOf, stopWith, versionPath } from './edge-calls.ts';

/** What an account, a conversation or the end of the file begins with. */
interface Head {
  type: string;
  id: string;
  account?: string | null;
  kind?: string;
  version?: string;
  missing?: string[];
}

const done = { accounts: 0, conversations: 0, versions: 0 };
/** What was not taken up, each with the reason. */
const refused: string[] = [];
/** What is as it was: an account that was used here, a conversation of the same name. */
const left: string[] = [];
let head: Head | undefined;
let lines: string[] = [];
let end: Head | undefined;

readArguments('SLUICE_URL=https://… SLUICE_TOKEN=… npm run restore < backup.jsonl', { options: {} });

const faults: string[] = [];
try {
  let number = 0;
  for await (const line of linesOf(process.stdin.setEncoding('utf8'))) {
    number += 1;
    if (line === '') continue;
    // A conversation's own lines are lists. Any other line is a head, a damaged one too.
    if (!line.startsWith('[')) {
      await restored();
      head = headOf(line, number);
    }
    lines.push(line);
  }
  await restored();
  if (!end)
    faults.push('The backup has no last line: it broke off when it was written. What else is in it was taken up.');
  const { missing = [] } = end ?? {};
  if (missing.length > 0) faults.push(`These ${missing.length} were not in the backup:`, ...missing);
} catch (thrown) {
  faults.push(sentenceOf(thrown), 'It stopped there, and the rest was not sent. Put that right, and run it again.');
}
// An end before its time tells what was done as well.
const { accounts, conversations, versions } = done;
console.log(`${accounts} accounts, ${conversations} conversations and ${versions} versions were taken up.`);
if (left.length > 0) console.log(`${left.length} were there already: ${left.join(', ')}. They stay as they are.`);
if (refused.length > 0) faults.unshift(`These ${refused.length} were not taken up:`, ...refused);
if (faults.length > 0) stopWith(new Error(faults.join('\n')));

/** @returns what a line begins; what cannot be read is noted, and the lines behind it are left out */
function headOf(line: string, number: number): Head {
  try {
    return JSON.parse(line) as Head;
  } catch {
    return { type: 'unreadable', id: `line ${number}` };
  }
}

/** Yields lines. (Those of `node:readline` end at U+2028 and U+2029 too, which may stand in what somebody has said.) */
async function* linesOf(texts: AsyncIterable<string>): AsyncGenerator<string> {
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
async function restored(): Promise<void> {
  const [first = '', ...rest] = lines;
  lines = [];
  if (head === undefined) {
    if (first !== '') throw new Error('This is no backup: it begins with a line of something else.');
    return;
  }
  if (head.type === 'backup_end') {
    end = head;
    return;
  }
  const what = nameOf(head);
  try {
    await restoreOne(head, what, first, rest);
    if (head.type !== 'conversation_backup' && rest.length > 0)
      refused.push(
        `the ${rest.length} lines behind ${what}: The line before them, which says whose they are, is damaged.`,
      );
  } catch (thrown) {
    if (!(thrown instanceof NotGiven)) throw thrown;
    refused.push(`${what}: ${thrown.message}`);
  }
}

function nameOf({ type, id, account, kind, version }: Head): string {
  if (type === 'account_backup') return `the account ${id}`;
  if (type === 'conversation_backup') return `the conversation ${id} of ${account}`;
  if (type === 'version_backup') return `the ${kind} ${version} of ${account ?? 'the deployment'}`;
  return type === 'unreadable' ? id : `a line of the type ${type}`;
}

/** @throws NotGiven for what the edge does not take, and for what is no backup */
async function restoreOne(head: Head, what: string, first: string, rest: string[]): Promise<void> {
  const { type, id, account, kind, version } = head;
  if (type === 'account_backup') {
    const { status } = await put(backupPath(id), first, 'application/json', [409]);
    if (status === 409) left.push(what);
    else done.accounts += 1;
  } else if (type === 'conversation_backup' && typeof account === 'string') {
    const { status } = await put(backupPath(account, id), `${rest.join('\n')}\n`, 'application/jsonl', [409]);
    if (status === 409) left.push(what);
    else done.conversations += 1;
  } else if (type === 'version_backup' && kind !== undefined && version !== undefined) {
    await put(versionPath(kind, version), first, 'application/json');
    done.versions += 1;
  } else if (type !== 'unreadable') throw new NotGiven('This is no backup.');
  else throw new NotGiven(`It is not JSON.${rest.length > 0 ? ` It has the next ${rest.length} lines with it.` : ''}`);
}

async function put(path: string, body: string, type: string, taken: number[] = []): Promise<Response> {
  return await callEdge('PUT', path, { body, type, taken });
}
