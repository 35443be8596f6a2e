// All plugins, for scripts. Its types stand in plugins.d.mts: those of what plugins import are the runtime's, which scripts do not have.
export { PLUGINS } from '../src/edge/plugins.ts';
