module corenode/integration/gotemplate

go 1.19
