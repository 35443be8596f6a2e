/**
 * Loads what describes the edge. It is made of the Worker's routes, whose types are of another runtime than those of scripts: so
 * it is loaded by its URL, with these types alone.
 */
import type { createDocument } from 'zod-openapi';

interface DescribedEdge {
  createOpenApiDocument(): ReturnType<typeof createDocument>;
  RESOURCES: readonly {
    tag: string;
    routes: Readonly<Record<string, { needs: string; body?: { example: unknown } | undefined }>>;
  }[];
}

export const { createOpenApiDocument, RESOURCES }: DescribedEdge = await import(
  new URL('../src/edge/openapi.ts', import.meta.url).href
);
