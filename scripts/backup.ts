/**
 * Writes what a backup contains of all accounts and conversations, or of one account, as lines of JSON. What the edge does not
 * give is left out, and named at the end:
 * `SLUICE_URL=https://… SLUICE_TOKEN=… npm run --silent backup [-- --account alice | --erasures] > backup.jsonl`.
 */
import { readArguments } from './arguments.ts';
import {
  backupPath,
  callEdge,
  groupBackupPath,
  listIds,
  listRows,
  requireTransferPlugin,
  stopWith,
  Unavailable,
  versionPath,
} from './edge-calls.ts';

const USAGE =
  'SLUICE_URL=https://… SLUICE_TOKEN=… npm run --silent backup [-- --account alice | --erasures] > backup.jsonl';
const END = '["end",null]';
/** A conversation that is changed while it is read is read again. */
const TRIES = 5;
/** The owner of resources that belong to the whole deployment. */
const DEPLOYMENT = '.';
/** The kinds of resources stored by name. Prefixes and classifiers come first, because agents refer to them. */
const KINDS = ['prefix', 'classifier', 'agent'];

const { values } = readArguments(USAGE, { options: { account: { type: 'string' }, erasures: { type: 'boolean' } } });

const done = { groups: 0, erasures: 0, versions: 0, accounts: 0, conversations: 0 };
/** The requested versions, and whether the deployment has them. */
const versions = new Map<string, boolean>();

/** A version of a backup, or what a conversation has of its agent. */
interface StoredReference {
  model?: string | { by?: string };
  tools?: { run?: string | { agent?: string } }[];
}

const missing: string[] = [];

try {
  if (!values.erasures) await requireTransferPlugin();
  if (values.erasures) await writeErasures();
  else if (values.account === undefined) await writeDeployment();
  else await writeOneAccount(values.account);
  process.stdout.write(`${JSON.stringify({ type: 'backup_end', ...done, missing })}\n`);
  for (const [kind, number] of Object.entries(done)) console.error(`${kind}: ${number}`);
  if (missing.length > 0)
    throw new Error(
      `The backup is incomplete. Run the command again, because these parts are missing:\n${missing.join('\n')}`,
    );
} catch (thrown) {
  stopWith(thrown);
}

/** Writes everything in the order in which a restore needs it: limits and revocations before the data to which they apply. */
async function writeDeployment(): Promise<void> {
  await noteIfMissing('the limits of the deployment', async () => {
    process.stdout.write(`${await (await callEdge('GET', '/pools/deployment/backup')).text()}\n`);
  });
  for await (const group of listIds('/groups')) await writeGroup(group);
  await writeErasures();
  await writeStored();
  for await (const account of listIds('/accounts')) {
    await writeStored(account);
    if (await writeAccount(account)) await writeConversations(account);
  }
}

/** Writes one account, with the limits of its group. */
async function writeOneAccount(account: string): Promise<void> {
  const response = await callEdge('GET', backupPath(account));
  const { group } = (await response.json()) as { group: string | null };
  if (group !== null) await writeGroup(group);
  await writeErasures(account);
  await writeStored(account);
  if (await writeAccount(account)) await writeConversations(account);
}

async function writeGroup(group: string): Promise<void> {
  await noteIfMissing(`the group ${group}`, async () => {
    process.stdout.write(`${await (await callEdge('GET', groupBackupPath(group))).text()}\n`);
    done.groups += 1;
  });
}

/** Writes which accounts were erased in the last 90 days, and when. @param only one of them */
async function writeErasures(only?: string): Promise<void> {
  await noteIfMissing('the list of erasures', async () => {
    for await (const erasure of listRows<{ account: string }>('/erasures')) {
      if (only !== undefined && erasure.account !== only) continue;
      process.stdout.write(`${JSON.stringify(erasure)}\n`);
      done.erasures += 1;
    }
  });
}

/** Writes the current version of everything that an account, or without one the deployment, has stored by name. */
async function writeStored(account?: string): Promise<void> {
  const whose = account ?? 'the deployment';
  const query = account === undefined ? '' : `?account=${encodeURIComponent(account)}`;
  for (const kind of KINDS) {
    const names: string[] = [];
    await noteIfMissing(`each ${kind} of ${whose}`, async () => {
      // A deployment without the plugin for a kind responds with 409. It has no versions of that kind, so the backup is
      // complete without them.
      for await (const name of listIds(`/versions/${kind}${query}`, [409])) names.push(name);
    });
    for (const name of names) {
      await noteIfMissing(
        `the ${kind} ${name} of ${whose}`,
        async () => void (await writeVersion(kind, name, account)),
      );
    }
  }
}

/** @returns whether the edge gave the account */
async function writeAccount(account: string): Promise<boolean> {
  return await noteIfMissing(`the account ${account}`, async () => {
    process.stdout.write(`${await (await callEdge('GET', backupPath(account))).text()}\n`);
    done.accounts += 1;
  });
}

/**
 * Runs a part of the backup, and records it as missing if the deployment does not return it. @returns whether it was returned
 */
async function noteIfMissing(what: string, work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (thrown) {
    if (!(thrown instanceof Unavailable)) throw thrown;
    missing.push(`${what}: ${thrown.message}`);
    return false;
  }
}

/** Writes the backup of each conversation, the oldest first: so the order stays in which they were made. */
async function writeConversations(account: string, parent?: string): Promise<void> {
  const path = `/accounts/${encodeURIComponent(account)}/conversations${parent === undefined ? '' : `?parent=${parent}`}`;
  const ids: string[] = [];
  const whose = parent === undefined ? account : `subagents of ${parent} of ${account}`;
  await noteIfMissing(`the other conversations of ${whose}`, async () => {
    for await (const id of listIds(path)) ids.push(id);
  });
  for (const id of ids.reverse()) {
    await noteIfMissing(`the conversation ${id} of ${account}`, async () => {
      const lines = await readWhole(account, id);
      if (lines === undefined) return;
      await writeUsed(lines, `the conversation ${id} of ${account}`);
      process.stdout.write(`${JSON.stringify({ type: 'conversation_backup', account, id })}\n${lines}`);
      done.conversations += 1;
    });
    // The conversation's runs may have called subagents, whose conversations are listed only below it.
    await writeConversations(account, id);
  }
}

/** Writes the versions that a conversation uses, before it. @param whose how it is named where one is missing */
async function writeUsed(lines: string, whose: string): Promise<void> {
  const of = new Map(
    lines
      .split('\n')
      .slice(0, 10)
      .filter(Boolean)
      .map((line) => JSON.parse(line) as [string, never]),
  );
  const { prefix, agent } = of.get('profile') ?? ({} as Record<'prefix' | 'agent', Stored | null | undefined>);
  for (const [kind, stored] of [['prefix', prefix] as const, ['agent', agent] as const]) {
    if (!stored) continue;
    const { owner, name, hash } = stored;
    const account = owner === DEPLOYMENT ? undefined : owner;
    const version = `${name}@${hash}`;
    await noteIfMissing(`the ${kind} ${version}, which ${whose} uses`, async () => {
      const isThere = await writeVersion(kind, version, account);
      // A missing agent is no gap in the backup: a conversation stores a copy of its agent. Of a prefix it stores only the
      // reference.
      if (!isThere && kind === 'prefix') throw new Unavailable('does not exist');
    });
    const definition = kind === 'agent' && of.get('agent');
    if (definition) await writeReferences(definition, account, version);
  }
}

interface Stored {
  owner: string;
  name: string;
  hash: string;
}

/** Writes what an agent names: its classifier and its subagents. A name means that of its owner, else the deployment's. */
async function writeReferences(
  { model, tools = [] }: StoredReference,
  account: string | undefined,
  agent: string,
): Promise<void> {
  const named = tools.flatMap(({ run }) =>
    typeof run === 'object' && run.agent ? [['agent', run.agent] as const] : [],
  );
  const by = typeof model === 'object' && model.by ? [['classifier', model.by] as const] : [];
  // Report a missing classifier or subagent separately, so that the agent itself is backed up anyway.
  for (const [kind, ref] of [...by, ...named])
    await noteIfMissing(`the ${kind} ${ref}, which the agent ${agent} names`, async () => {
      if (!(await writeVersion(kind, ref, account)) && account !== undefined) await writeVersion(kind, ref, undefined);
    });
}

/**
 * Writes a version once, after the resources that it names, together with the current version of its name. @returns whether it
 * exists
 */
async function writeVersion(kind: string, ref: string, account: string | undefined): Promise<boolean> {
  const path = versionPath(kind, ref, account);
  const known = versions.get(path);
  if (known !== undefined) return known;
  const response = await callEdge('GET', path, { taken: [404] });
  versions.set(path, response.ok);
  if (!response.ok) return false;
  const text = await response.text();
  const { version, current, content } = JSON.parse(text) as {
    version: string;
    current: boolean;
    content: StoredReference;
  };
  // The version may have been written by its hash and now be requested by its name. Write it only once.
  const own = versionPath(kind, version, account);
  if (own !== path && versions.has(own)) return true;
  versions.set(own, true);
  if (kind === 'agent') await writeReferences(content, account, version);
  if (!current) await writeVersion(kind, version.split('@')[0] ?? version, account);
  process.stdout.write(`${text}\n`);
  done.versions += 1;
  return true;
}

/** @returns the lines of a conversation; undefined where it was deleted meanwhile, or its first turn still runs */
async function readWhole(account: string, id: string): Promise<string | undefined> {
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const response = await callEdge('GET', backupPath(account, id), { taken: [404] });
    if (response.status === 404) return undefined;
    const lines = await response.text().catch(() => '');
    if (lines.trimEnd().endsWith(END)) return `${lines.trimEnd()}\n`;
  }
  throw new Unavailable('could not be read completely');
}
