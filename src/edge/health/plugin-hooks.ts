/** What plugins report to the operator. */

import type { Context } from 'hono';
import type { AppEnv } from '../auth/context.ts';
import type { UpstreamPool } from '../claude/upstreams/pool.ts';
import type { Settings } from '../config/settings.ts';
import type { HealthAnswer } from './health-answers.schema.ts';
import type { OverviewResponse } from './overview-answers.schema.ts';

declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Returns further members of the response to `GET /health`. */
    readonly health?: (settings: Settings) => Partial<HealthAnswer>;
  }
}

declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Returns members of the response to `GET /overview`. */
    readonly overview?: (c: Context<AppEnv>) => Promise<Partial<OverviewResponse>>;
  }
}

/** A number of a metric family, with the labels that distinguish it. Without a suffix its name is that of the family. */
export interface MetricSample {
  suffix?: string;
  labels?: Readonly<Record<string, string>>;
  /** A text for a number that a float would round. */
  value: number | string;
}

/** A metric: what it is, and its numbers. */
export interface MetricFamily {
  name: string;
  type: 'counter' | 'gauge' | 'histogram' | 'summary';
  help: string;
  samples: readonly MetricSample[];
}

declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Returns further metric families. It must not fail when an object that it reads cannot be reached. */
    readonly metrics?: (c: Context<AppEnv>, upstreams: UpstreamPool | undefined) => Promise<readonly MetricFamily[]>;
  }
}
