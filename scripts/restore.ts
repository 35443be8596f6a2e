/**
 * Has another deployment take up a backup. What is there already stays as it is, so it may be begun again:
 * `SLUICE_URL=https://… SLUICE_TOKEN=… npm run restore < backup.jsonl`.
 */
import { readArguments } from './arguments.ts';
import { backupPath, callEdge, stopWith } from './edge-calls.ts';

/** What an account, a conversation or the end of the file begins with. */
interface Head {
  type: string;
  id: string;
  account?: string;
  missing?: string[];
}

const done = { accounts: 0, conversations: 0 };
/** What is as it was: an account that was used here, a conversation of the same name. */
const left: string[] = [];
let head: Head | undefined;
let lines: string[] = [];
let end: Head | undefined;

readArguments('SLUICE_URL=https://… SLUICE_TOKEN=… npm run restore < backup.jsonl', { options: {} });

try {
  for await (const line of linesOf(process.stdin.setEncoding('utf8'))) {
    if (line === '') continue;
    if (line.startsWith('{')) {
      await restored();
      head = JSON.parse(line) as Head;
    }
    lines.push(line);
  }
  await restored();
  console.log(`${done.accounts} accounts and ${done.conversations} conversations were taken up.`);
  if (left.length > 0) console.log(`${left.length} were there already: ${left.join(', ')}. They stay as they are.`);
  if (!end) {
    throw new Error('The backup has no last line: it broke off when it was written. What is in it was taken up.');
  }
  const { missing = [] } = end;
  if (missing.length > 0) throw new Error(`These were not in the backup:\n${missing.join('\n')}`);
} catch (thrown) {
  stopWith(thrown);
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
  if (head.type === 'account_backup') {
    const { status } = await put(backupPath(head.id), first, 'application/json');
    if (status === 409) left.push(`the account ${head.id}`);
    else done.accounts += 1;
  } else if (head.type === 'conversation_backup' && head.account !== undefined) {
    const { status } = await put(backupPath(head.account, head.id), `${rest.join('\n')}\n`, 'application/jsonl');
    if (status === 409) left.push(`the conversation ${head.id} of ${head.account}`);
    else done.conversations += 1;
  } else if (head.type === 'backup_end') end = head;
  else throw new Error(`This is no backup: it has a line of the type ${head.type}.`);
}

async function put(path: string, body: string, type: string): Promise<Response> {
  return await callEdge('PUT', path, { body, type, taken: [409] });
}
