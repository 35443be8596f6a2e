/** Where rooms plug in what they tell the operator. */

import type { Context } from 'hono';
import type { AppEnv } from '../auth/context.ts';
import type { UpstreamPool } from '../claude/upstreams/pool.ts';
import type { Settings } from '../config/settings.ts';
import { seam } from '../kit/rooms/rooms.ts';
import type { HealthAnswer } from './health-answers.schema.ts';
import type { Overview } from './overview-answers.schema.ts';

/** @returns further members of what `GET /health` answers */
export const HEALTH = seam<(settings: Settings) => Partial<HealthAnswer>>()('health');

/** @returns members of what `GET /overview` answers */
export const OVERVIEW = seam<(c: Context<AppEnv>) => Promise<Partial<Overview>>>()('overview');

/** A number of a family, with what tells it from the others. Without a suffix its name is the family's. */
export interface Sample {
  suffix?: string;
  labels?: Readonly<Record<string, string>>;
  /** A text for a number that a float would round. */
  value: number | string;
}

/** A metric: what it is, and its numbers. */
export interface Family {
  name: string;
  type: 'counter' | 'gauge' | 'histogram' | 'summary';
  help: string;
  samples: readonly Sample[];
}

/** @returns further metrics for who scrapes them, also while what they are asked of cannot be reached */
export const METRICS =
  seam<(c: Context<AppEnv>, upstreams: UpstreamPool | undefined) => Promise<readonly Family[]>>()('metrics');
