import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { INCIDENTS } from '../../scripts/drill-incidents.ts';
import { root } from '../support/root.ts';
import { startTerminal } from './terminal.ts';

// The key last: its upstream is left alone for half a minute.
const ORDER = ['token', 'token', 'webhook', 'overloaded', 'budget', 'key'];

/** Where the page and the log are, as the drill says it. */
const PLACES = /^The page: +(\S+)\r?\nThe log: +(\S+)/m;

/**
 * Runs a drill, and answers what is asked.
 *
 * @param choose gets what users say, the choices and the file of the log, and picks one of the choices
 */
async function drill(only: readonly string[], choose: (heard: string, choices: string[], log: string) => string) {
  const args = ['run', '--silent', 'drill', '--', '--only', only.join(',')];
  const child = spawn('npm', args, { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] });
  let [output, read] = ['', 0];
  child.stdout.on('data', (piece: Buffer) => {
    output += piece.toString();
    const asked = /^Incident \d+ of \d+\. (.+)\nWhat is it\?\n((?: {2}\d+ {2}.+\n){8})/m.exec(output.slice(read));
    if (asked === null) return;
    read += asked.index + asked[0].length;
    const [, heard = '', list = ''] = asked;
    const [, , log = ''] = PLACES.exec(output) ?? [];
    child.stdin.write(`${choose(heard, list.trimEnd().split('\n'), log)}\n`);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}

test('npm run drill provokes five incidents, and tells a wrong answer with the line that shows what it was', async () => {
  let asked = 0;
  let shown = '';
  const { code, output } = await drill(ORDER, (heard, choices, log) => {
    asked += 1;
    shown = readFileSync(log, 'utf8');
    const { cause = '' } = Object.values(INCIDENTS).find((one) => one.heard === heard) ?? {};
    const isWrong = asked === 1;
    const [, number = ''] = /^ *(\d+)/.exec(choices.find((choice) => choice.endsWith(cause) !== isWrong) ?? '') ?? [];
    // What is no number of the list is asked again.
    return `${asked === 2 ? 'what?\n' : ''}${number}`;
  });
  expect(code, output).toBe(0);
  expect(output.match(/^(Right|No)\./gm)).toEqual(['No.', ...ORDER.slice(1).map(() => 'Right.')]);
  expect(output).toMatch(
    /^No\. The token of one user was revoked\. This line shows it:\n {2}\d\d:\d\d:\d\d \{.*"account":"kim".*"status":401/m,
  );
  expect(output.match(/^To mend it: .+\.\nThe runbook has it under “.+”: http:\S+$/gm)).toHaveLength(ORDER.length);
  expect(output).toContain('\n  UPSTREAM_MAX_RETRIES=0\n');
  // Each line has its time, and the drill shows nothing of what it does itself.
  const lines = shown.trimEnd().split('\n');
  const requests = lines.map((line) => JSON.parse(line.replace(/^\d\d:\d\d:\d\d /, '')) as Record<string, unknown>);
  expect(requests.length).toBeGreaterThan(20);
  const seen = new Set(requests.flatMap(({ method, route }) => (route === undefined ? [] : [`${method} ${route}`])));
  expect([...seen].toSorted()).toEqual(['GET /health', 'POST /v1/messages', 'POST /webhooks/:source']);
  expect(output).toContain('Type a number from 1 to 8.');
  expect(output.trimEnd()).toMatch(/You have named 5 of 6\.$/);
  // Nothing is left of it.
  const [, page = '', log = ''] = PLACES.exec(output) ?? [];
  expect(existsSync(log)).toBe(false);
  await expect(fetch(page)).rejects.toThrow();
});

test('in a terminal the edge runs on after the last answer, until Enter is pressed', async () => {
  const terminal = startTerminal('npm run --silent drill -- --only token', { cwd: root, env: process.env });
  const [, page = ''] = PLACES.exec(await terminal.see(/What is it\?/)) ?? [];
  const [, number = ''] = /(\d+) {2}The token of one user/.exec(await terminal.see(/The token of one user/)) ?? [];
  terminal.type(`${number}\n`);
  expect(await terminal.see(/Press Enter to end it\./)).toContain('You have named 1 of 1.');
  expect((await fetch(new URL('/health', page))).status).toBe(200);
  terminal.type('\n');
  expect(await terminal.end()).toBe(0);
  await expect(fetch(page)).rejects.toThrow();
});
