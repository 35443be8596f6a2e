/** The heap of a Worker's isolate, as the runtime's inspector shows it. */
import type { InspectableEdge } from './edge.ts';

/** A snapshot under load takes several seconds. */
const SNAPSHOT_TIMEOUT_MS = 60_000;
/** The inspector drops a message now and then. */
const MAX_ATTEMPTS = 5;
/** The platform evicts an object that was idle for ten seconds. It is looked for twice as long. */
const [READ_INTERVAL_MS, MAX_UNCHANGED_READS] = [4_000, 5];
/** What V8 compiles, and what it learns about code and the shapes of objects: how much that is depends on timing. */
const CODE = /^(code|object shape)$/;
const CODE_METADATA = /WeakArrayList|ProtectedFixedArray|SharedFunctionInfo/;

/** The part of a snapshot that is read: https://chromium.googlesource.com/v8/v8/+/main/src/profiler/heap-snapshot-generator.cc */
interface Snapshot {
  snapshot: { meta: { node_fields: string[]; node_types: [string[]] } };
  nodes: number[];
  strings: string[];
}

/** What an isolate keeps in memory, after a garbage collection. */
export interface IsolateHeap {
  /** The bytes of all objects, without compiled code. */
  bytes: number;
  /** The same by the names of the objects' classes. */
  bytesByName: Map<string, number>;
  /** How many Durable Objects are in memory. */
  durableObjects: number;
}

/**
 * Reads the heap when the platform has evicted the Durable Objects that are idle. If objects stay in memory, they count as memory
 * that is in use.
 */
export async function readHeapAtRest(edge: InspectableEdge): Promise<IsolateHeap> {
  let [fewest, unchanged] = [Number.POSITIVE_INFINITY, 0];
  for (;;) {
    const heap = await readIsolateHeap(edge);
    unchanged = heap.durableObjects < fewest ? 0 : unchanged + 1;
    fewest = Math.min(fewest, heap.durableObjects);
    // Read twice, because finalizers run with the first request after a collection, and may free more.
    if (unchanged >= (heap.durableObjects === 0 ? 1 : MAX_UNCHANGED_READS)) return heap;
    await (await fetch(`${edge.url}/health`)).text();
    await new Promise((resolve) => setTimeout(resolve, READ_INTERVAL_MS));
  }
}

async function readIsolateHeap(edge: InspectableEdge): Promise<IsolateHeap> {
  for (let attempt = 1; ; attempt += 1) {
    const text = await takeSnapshot(edge.inspectorUrl);
    if (text !== undefined) return sumSnapshot(JSON.parse(text) as Snapshot);
    if (attempt === MAX_ATTEMPTS) throw new Error('The inspector does not answer.');
  }
}

/** @returns a snapshot as JSON, before which all garbage was collected; undefined if the inspector does not answer in time */
async function takeSnapshot(inspectorUrl: string): Promise<string | undefined> {
  const socket = new WebSocket(inspectorUrl);
  const late = AbortSignal.timeout(SNAPSHOT_TIMEOUT_MS);
  const chunks: string[] = [];
  try {
    return await new Promise<string | undefined>((resolve) => {
      late.addEventListener('abort', () => resolve(undefined));
      socket.addEventListener('error', () => resolve(undefined));
      socket.addEventListener('open', () => {
        // The inspector keeps the last 1,000 lines of the console.
        socket.send(JSON.stringify({ id: 1, method: 'Runtime.discardConsoleEntries' }));
        socket.send(JSON.stringify({ id: 2, method: 'HeapProfiler.takeHeapSnapshot' }));
      });
      socket.addEventListener('message', ({ data }) => {
        const { id, method, params } = JSON.parse(String(data)) as {
          id?: number;
          method?: string;
          params?: { chunk: string };
        };
        if (method === 'HeapProfiler.addHeapSnapshotChunk' && params) chunks.push(params.chunk);
        if (id === 2) resolve(chunks.join(''));
      });
    });
  } finally {
    socket.close();
  }
}

function sumSnapshot({ snapshot, nodes, strings }: Snapshot): IsolateHeap {
  const { node_fields: fields, node_types } = snapshot.meta;
  const [typeAt, nameAt, sizeAt] = ['type', 'name', 'self_size'].map((field) => fields.indexOf(field)) as [
    number,
    number,
    number,
  ];
  const heap: IsolateHeap = { bytes: 0, bytesByName: new Map(), durableObjects: 0 };
  for (let at = 0; at < nodes.length; at += fields.length) {
    const type = node_types[0][nodes[at + typeAt] as number] ?? '';
    const name = strings[nodes[at + nameAt] as number] ?? '';
    if (CODE.test(type) || (type === 'native' && CODE_METADATA.test(name))) continue;
    if (name === 'workerd / DurableObjectState') heap.durableObjects += 1;
    // The name of a string is its text, and that of a scope contains a number which may change.
    const label = type.includes('string') ? 'string' : `${type} ${name.replace(/ \/ scope.*/, '')}`;
    const bytes = nodes[at + sizeAt] as number;
    heap.bytes += bytes;
    heap.bytesByName.set(label, (heap.bytesByName.get(label) ?? 0) + bytes);
  }
  return heap;
}

/** @returns the names whose objects have grown most, with the bytes, for a message */
export function describeGrowth(before: IsolateHeap, after: IsolateHeap): string {
  const rows = [...after.bytesByName].map(([name, bytes]) => ({
    name,
    bytes: bytes - (before.bytesByName.get(name) ?? 0),
  }));
  const largest = rows.sort((one, other) => other.bytes - one.bytes).slice(0, 8);
  return largest.map(({ name, bytes }) => `${name}: ${bytes} B`).join(', ');
}
