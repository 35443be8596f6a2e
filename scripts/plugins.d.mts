import type { Plugin } from '../src/edge/kit/plugins/plugins.ts';

export declare const PLUGINS: readonly Plugin[];
