import { setTimeout as sleep } from 'node:timers/promises';
import { AGED_CONVERSATIONS, agedTurns, bare } from './contenders.ts';
import { countDuring } from './counts.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, startServer } from './server.ts';
import { align, number, verdict } from './table.ts';
import { asking, bringing, requestBody } from './workloads.ts';

const afterworkMs = 200;

/** What a turn costs after so many others. */
export interface Age {
  turns: number;
  /** What the conversation sends up: a client without one would send it too. */
  requestBytes: number;
  /** The bare Worker's, for a request that brings the whole history itself. */
  bareMs: number | undefined;
  cpuMs: number | undefined;
  rowsWritten: number;
}

/** Has conversations of several lengths asked once more. Their histories are given to them by their first turn. */
export async function measureAges(bundles: { bare: Bundle; turn: Bundle; counted: Bundle }, upstream: string) {
  const load = startChild(new URL('load.ts', import.meta.url));
  const ages: Age[] = [];
  for (const { turns, timed, counted } of agedTurns) {
    const history = bringing(turns);
    const bareServer = await startServer(bare, bundles.bare, upstream);
    const bareClient = new Client(load, bare, bareServer);
    await bareClient.send(history);
    const bareMs = await bareClient.measureCpu(history);
    await bareServer.stop();

    const server = await startServer(timed, bundles.turn, upstream);
    const client = new Client(load, timed, server);
    await client.send(history, AGED_CONVERSATIONS);
    await client.send(asking, AGED_CONVERSATIONS);
    const cpuMs = await client.measureCpu(asking);
    await server.stop();

    const counting = await startServer(counted, bundles.counted, upstream);
    const counter = new Client(load, counted, counting);
    await counter.send(history, AGED_CONVERSATIONS);
    // What one turn leaves to be written with the next must not be counted for two.
    await sleep(afterworkMs);
    await counter.send(asking, AGED_CONVERSATIONS);
    const { rowsWritten } = await countDuring(counting, AGED_CONVERSATIONS, () =>
      counter.send(asking, AGED_CONVERSATIONS),
    );
    await counting.stop();
    ages.push({ turns, requestBytes: requestBody(history).length, bareMs, cpuMs, rowsWritten });
  }
  load.disconnect();
  return ages;
}

/** Whether the oldest conversation's turn writes more rows than the youngest's. */
export function isOver(ages: Age[]): boolean {
  return Math.round(ages.at(-1)?.rowsWritten ?? 0) > Math.round(ages[0]?.rowsWritten ?? 0);
}

export function ageTable(ages: Age[]): string {
  const ms = (value: number | undefined) => (value === undefined ? 'n/a' : number(value));
  const [first] = ages;
  return align([
    ['turn', 'kB sent up', 'CPU ms', 'bare, same bytes', '×', 'rows written', 'ceiling'],
    ...ages.map(({ turns, requestBytes, bareMs, cpuMs, rowsWritten }) => [
      `  ${turns}`,
      number(requestBytes / 1000),
      ms(cpuMs),
      ms(bareMs),
      bareMs && cpuMs ? number(cpuMs / bareMs) : '',
      number(rowsWritten),
      verdict(
        String(Math.round(first?.rowsWritten ?? 0)),
        Math.round(rowsWritten) > Math.round(first?.rowsWritten ?? 0),
      ),
    ]),
  ]);
}
