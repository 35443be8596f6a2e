/** Has this process know all plugins. It is imported before what asks for them while it is loaded, as references do. */
import { registerPlugins } from './kit/plugins/plugins.ts';
import { PLUGINS } from './plugins.ts';

registerPlugins(PLUGINS);
