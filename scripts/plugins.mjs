// All plugins, for scripts. Their types are declared in plugins.d.mts, because the plugins' own types need those of the Workers
// runtime, which scripts do not have.
export { PLUGINS } from '../src/edge/plugins.ts';
