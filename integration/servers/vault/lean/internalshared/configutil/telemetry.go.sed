# What sends metrics to clouds.
/^\tif opts\.Config\.\(CirconusAPIToken\|DogStatsDAddr\|StackdriverProjectID\)/,/^\t}/d
/^\t.*"\(cloud\.google\.com\|google\.golang\.org\|github\.com\/google\/go-metrics-stackdriver\|github\.com\/armon\/go-metrics\/\(circonus\|datadog\)\)/d
/^\t"context"/d
