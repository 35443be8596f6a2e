/**
 * Has an agent look into an incident: it asks two subagents at a time, and a person before it rolls anything back.
 *
 * node examples/incident.ts [--yes]. It runs on the simulator alone; set SLUICE_URL and SLUICE_TOKEN for another edge.
 * The turn belongs to the edge: end this at the question, and decide on the page, or tomorrow.
 */
import { createInterface } from 'node:readline/promises';
import { setTimeout as sleep } from 'node:timers/promises';
// In a project of your own: from 'sluice/client'.
import { createClient } from '../src/client/index.ts';

const { SLUICE_URL = 'http://localhost:8787', SLUICE_TOKEN } = process.env;
const sluice = createClient({ baseURL: SLUICE_URL, ...(SLUICE_TOKEN ? { token: SLUICE_TOKEN } : {}) });
const conversation = `incident-${Date.now().toString(36)}`;

const reader = { model: 'claude-haiku-5-5', max_tokens: 2_048, limits: { max_turns: 4, max_usd: 0.02 } };
await sluice.agents.put('log-reader', {
  ...reader,
  description: 'Reads logs',
  system: 'You read the logs of a service. Ask edge_clock for the time in UTC first.',
  tools: [{ name: 'edge_clock', run: 'worker' }],
});
await sluice.agents.put('metrics-reader', {
  ...reader,
  description: 'Reads metrics',
  system: 'You read the metrics of a service. Roll edge_dice for a figure.',
  tools: [{ name: 'edge_dice', run: 'worker' }],
});
await sluice.agents.put('incident', {
  model: 'claude-haiku-5-5',
  max_tokens: 2_048,
  system: 'You are on call. Look into logs and metrics before you propose a rollback.',
  tools: [
    { name: 'read_logs', description: 'Reads the logs of a service.', run: { agent: 'log-reader' } },
    { name: 'read_metrics', description: 'Reads the metrics of a service.', run: { agent: 'metrics-reader' } },
    { name: 'edge_rollback', run: { worker: true, approval: 'always' } },
  ],
  limits: { max_turns: 6, max_usd: 0.2 },
});

const { id: turn } = await sluice.messages.begin({
  agent: 'incident',
  conversation,
  messages: [
    { role: 'user', content: 'checkout fails. Use read_logs and read_metrics, then edge_rollback for checkout.' },
  ],
});
console.log(`${turn} runs in ${conversation}.`);

async function nextApproval() {
  for (;;) {
    // In this order: a turn that pauses between the two has asked already.
    const { status } = await sluice.conversations.turn(conversation, turn);
    const { data } = await sluice.conversations.approvals(conversation);
    if (data[0]) return data[0];
    if (status !== 'running') throw new Error('The turn has ended, and asked nobody.');
    await sleep(300);
  }
}

async function decideOn(question: string): Promise<'approve' | 'deny'> {
  if (process.argv.includes('--yes')) return 'approve';
  const terminal = createInterface(process.stdin, process.stdout);
  const answer = await terminal.question(question);
  terminal.close();
  return /^y/i.test(answer) ? 'approve' : 'deny';
}

const waiting = await nextApproval();
console.log(`It asks for ${waiting.name} ${JSON.stringify(waiting.input)}.`);
const decision = await decideOn('Approve? (y/n) ');
const { id: next } = await sluice.conversations.approve(conversation, waiting.id, { decision });
// The turn that goes on is named: so it is told even if it has ended by now.
const stream = await sluice.conversations.resume(conversation, { turn: next });
for await (const text of stream?.textDeltas() ?? []) process.stdout.write(text);

const { data: subagents } = await sluice.conversations.list({ parent: conversation });
console.log(`\nSubagents: ${subagents.map(({ id }) => id).join(', ')}`);
for (const id of [conversation, ...subagents.map(({ id }) => id)]) {
  const { agent, cost_usd } = await sluice.conversations.get(id);
  console.log(`${agent?.name}: $${cost_usd}`);
}
