/**
 * Practises a night: starts an edge on this machine, breaks it five times, and asks each time what it was:
 * `npm run drill [-- --only key,budget]`. It ends all that it has started, and leaves nothing behind.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { readArguments } from './arguments.ts';
import { type DrillEdge, startDrillEdge } from './drill-edge.ts';
import { INCIDENTS, type Incident, isWhole, lineOf, mint, OTHER_CAUSES } from './drill-incidents.ts';
import { stopWith } from './edge-calls.ts';
import { anchorOf } from './guides.ts';
import { npmRun, whenEnded } from './npm-run.ts';

/** Read at once: npm may end before the edge has started. */
const run = npmRun();
const NAMES = Object.keys(INCIDENTS);
const USAGE = `npm run drill [-- --only ${NAMES.join(',')}]
  --only ${NAMES.join(',')}   these incidents, in this order; without it all five, in an order that is drawn`;

const { values } = readArguments(USAGE, { options: { only: { type: 'string' } } });
const chosen = (values.only?.split(',') ?? shuffled(NAMES)).map((name) => {
  const incident = Object.hasOwn(INCIDENTS, name) ? INCIDENTS[name] : undefined;
  return incident ?? stopWith(`There is no incident ${name}. There are ${NAMES.join(', ')}.`);
});
const CAUSES = [...Object.values(INCIDENTS).map(({ cause }) => cause), ...OTHER_CAUSES].toSorted();

const folder = await mkdtemp(join(tmpdir(), 'sluice-drill-'));
/** What was typed before it was asked for is not lost. */
const typed = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let edge: DrillEdge | undefined;

const end = () => void tidyUp().then(() => process.exit(1));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
if (run) whenEnded(run, end);
try {
  console.log('An edge is built and started. That takes a minute.');
  edge = await startDrillEdge(folder);
  await drill(edge);
  await tidyUp();
  process.exit(0);
} catch (thrown) {
  await tidyUp();
  stopWith(thrown);
}

async function drill(world: DrillEdge): Promise<void> {
  await isWhole(world);
  console.log(`
The page:    ${world.url}/#/budget
The log:     ${world.logFile} (a line for each request, behind the time of day in UTC; for jq: cut -c10- FILE | jq)
Its health:  ${world.url}/health?strict and ${world.url}/health?upstreams
The runbook: ${world.url}/docs/guides/runbook
You are dev here, an admin, and need no token; elsewhere you would need one, such as ${await mint(world, 'operator', ['admin'])}
In the log, probe is the monitor, and dev is you. What breaks the edge is not in it.
These settings are not the default (${world.url}/docs/guides/operating#settings explains them):
${settingsTold(world.settings)}`);
  let right = 0;
  for (const [at, incident] of chosen.entries()) {
    if (at > 0) await isWhole(world);
    const since = world.log.length;
    await incident.provoke(world);
    const { text } = await lineOf(incident, world, since);
    console.log(`\nIncident ${at + 1} of ${chosen.length}. ${incident.heard}\nWhat is it?`);
    for (const [index, cause] of CAUSES.entries()) console.log(`  ${index + 1}  ${cause}`);
    const isRight = CAUSES[(await readChoice()) - 1] === incident.cause;
    if (isRight) right += 1;
    console.log(`${isRight ? 'Right.' : 'No.'} ${explained(incident, text, world.url)}`);
    await incident.mend(world);
  }
  console.log(`\nYou have named ${right} of ${chosen.length}.`);
  if (!process.stdin.isTTY) return;
  console.log('The edge runs on, so that you can look at it. Press Enter to end it.');
  await Promise.race([typed.next(), world.ended]);
}

function explained({ cause, remedy, heading }: Incident, line: string, url: string): string {
  const address = `${url}/docs/guides/runbook#${anchorOf(heading)}`;
  return `${cause} This line shows it:\n  ${line}\nTo mend it: ${remedy}\nThe runbook has it under “${heading}”: ${address}`;
}

/** @returns a line for each setting; of secrets, only their names */
function settingsTold(settings: Readonly<Record<string, string>>): string {
  const isSecret = (name: string) => /_(KEY|SECRET)$/.test(name);
  const plain = Object.entries(settings).flatMap(([name, value]) => (isSecret(name) ? [] : [`  ${name}=${value}`]));
  return [...plain, `  and the secrets ${Object.keys(settings).filter(isSecret).join(', ')}`].join('\n');
}

/** Reads a number from the terminal, again until it is one of the list. @throws Error when the input has ended */
async function readChoice(): Promise<number> {
  for (;;) {
    const { value, done } = await typed.next();
    if (done) throw new Error('The input has ended before all was answered.');
    const choice = Number(value);
    if (Number.isInteger(choice) && choice >= 1 && choice <= CAUSES.length) return choice;
    console.log(`Type a number from 1 to ${CAUSES.length}.`);
  }
}

async function tidyUp(): Promise<void> {
  await edge?.stop();
  await rm(folder, { recursive: true, force: true });
}

function shuffled(names: readonly string[]): string[] {
  return names
    .map((name) => ({ name, at: Math.random() }))
    .toSorted((one, other) => one.at - other.at)
    .map(({ name }) => name);
}
