import type { TestProject } from 'vitest/node';
import { buildWorker } from './edge.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The code of the built Worker. */
    worker: string;
  }
}

/** Builds the Worker once for all tests that run it in a process of its own. */
export default async function setup(project: TestProject): Promise<void> {
  project.provide('worker', await buildWorker());
}
